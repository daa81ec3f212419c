"""RuNNer files: every number kept, every line that cannot be trusted refused with its place."""

import os
from pathlib import Path

import numpy as np
import pytest

from priorbench.datasets.runner import BOHR, HARTREE, in_canonical_units, read_runner
from priorbench.errors import PriorbenchError

WATER = """begin
comment made by hand
lattice 20.0 0.0 0.0
lattice 1.0 21.0 0.0
lattice 0.0 2.0 22.0
atom 1.0 2.0 3.0 O -0.8 0.0 0.1 0.2 0.3
atom -2.5 2.0 3.0 H 0.4 0.0 -0.1 0.25 0.5
energy -76.5
charge 0.0
end
"""
HYDROGEN = "begin\natom 0 0 0 H 0 0 1e-2 0 0\nenergy -0.5\ncharge 0\nend\n"


def test_every_number_of_the_file_is_kept() -> None:
    arrays = read_runner((WATER + HYDROGEN).splitlines(), "input.data")
    assert arrays["positions"].tolist() == [[1.0, 2.0, 3.0], [-2.5, 2.0, 3.0], [0.0, 0.0, 0.0]]
    assert arrays["forces"].tolist() == [[0.1, 0.2, 0.3], [-0.1, 0.25, 0.5], [0.01, 0.0, 0.0]]
    assert arrays["energies"].tolist() == [-76.5, -0.5]
    assert arrays["cells"][0].tolist() == [[20.0, 0.0, 0.0], [1.0, 21.0, 0.0], [0.0, 2.0, 22.0]]
    assert arrays["atomic_numbers"].tolist() == [8, 1, 1]
    assert arrays["offsets"].tolist() == [0, 2, 3]


def test_a_structure_without_a_lattice_is_not_periodic() -> None:
    arrays = read_runner((WATER + HYDROGEN).splitlines(), "input.data")
    assert arrays["pbc"].tolist() == [[True] * 3, [False] * 3]


def test_units_become_those_of_the_project() -> None:
    file = read_runner(WATER.splitlines(), "input.data")
    arrays = in_canonical_units(file)
    assert arrays["positions"][1, 0] == pytest.approx(-2.5 * 0.529177210903)
    assert arrays["cells"][0, 2, 2] == pytest.approx(22 * 0.529177210903)
    assert arrays["energies"][0] == pytest.approx(-76.5 * 27.211386245988)
    assert arrays["forces"][0, 0] == pytest.approx(0.1 * 51.42206747632)
    assert arrays["atomic_numbers"] is file["atomic_numbers"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("energy -76.5\n", "", r"line 14: 0 energies"),
        ("energy -76.5\n", "energy -76.5\nenergy -76.4\n", r"line 16: 2 energies"),
        ("-76.5", "nan", r"line 13: a value is not finite among 'nan'"),
        ("0.25", "inf", r"line 12: a value is not finite"),
        ("0.25", "0,25", r"line 12: not a number among"),
        ("0.25", "0_25", r"line 12: not a number among"),
        (" 0.5\n", "\n", r"line 12: an atom has x y z element charge unused fx fy fz, found 8 values"),
        ("H 0.4", "Wa 0.4", r"line 12: 'Wa' is no element"),
        ("H 0.4", "X 0.4", r"line 12: 'X' is no element"),
        ("lattice 0.0 2.0 22.0\n", "", r"line 14: 2 lattice vectors"),
        ("2.0 22.0", "2.0 0.0", r"line 15: the lattice has zero volume"),
        ("comment", "coment", r"line 7: unknown keyword 'coment'"),
        ("end\n", "", r"line 14: the file ends within a structure; it is cut short"),
        ("begin\n", "", r"line 6: 'comment' where 'begin' was expected"),
        ("charge 0.0\nend\n", "charge 0.0\nbegin\n", r"line 15: 'begin' where 'end' was expected"),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_structure_and_line(old: str, new: str, reason: str) -> None:
    assert WATER.count(old) >= 1
    with pytest.raises(PriorbenchError, match=rf"^data/input\.data: structure 1, {reason}"):
        read_runner((HYDROGEN + WATER.replace(old, new, 1)).splitlines(), "data/input.data")


@pytest.mark.parametrize("kept", range(1, len(WATER.splitlines())))
def test_a_file_cut_after_any_line_is_refused(kept: int) -> None:
    with pytest.raises(PriorbenchError, match=r"structure 0, line \d+: the file ends within a structure"):
        read_runner(WATER.splitlines()[:kept], "input.data")


def test_a_structure_without_atoms_is_refused() -> None:
    with pytest.raises(PriorbenchError, match=r"structure 0, line 3: no atom"):
        read_runner(["begin", "energy 1.0", "end"], "input.data")


def test_a_file_without_structures_is_refused() -> None:
    with pytest.raises(PriorbenchError, match=r"input\.data: holds no structure"):
        read_runner(["", "  "], "input.data")


@pytest.mark.skipif("PRIORBENCH_MIRROR" not in os.environ, reason="PRIORBENCH_MIRROR is not set")
def test_the_genuine_sample_has_its_published_figures() -> None:
    path = Path(os.environ["PRIORBENCH_MIRROR"]) / "rpbe_d3_sample" / "input.data"
    with path.open(encoding="utf-8") as lines:
        arrays = in_canonical_units(read_runner(lines, str(path)))
    sizes, counts = np.unique(np.diff(arrays["offsets"]), return_counts=True)
    assert dict(zip(sizes.tolist(), counts.tolist(), strict=True)) == {48: 11, 96: 2, 192: 7}
    assert round(float(arrays["forces"].std()), 3) == 1.376
    assert round(float((arrays["energies"] / (np.diff(arrays["offsets"]) / 3)).mean()), 3) == -2083.402
    assert (arrays["atomic_numbers"].reshape(-1, 3) == [8, 1, 1]).all()
    assert arrays["pbc"].all()


def test_the_constants_are_codata_2018() -> None:
    from ase.units import create_units

    units = create_units("2018")
    assert pytest.approx(units["Bohr"], rel=1e-9) == BOHR
    assert pytest.approx(units["Hartree"], rel=1e-9) == HARTREE
