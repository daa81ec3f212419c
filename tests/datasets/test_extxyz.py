"""Your own structures: every label arrives unchanged, and what cannot be trained on is refused by number."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write
from tests.conftest import water_box

from priorbench.datasets.distances import kinds
from priorbench.datasets.extxyz import ExtXYZ, ExtXYZOptions
from priorbench.datasets.groups import closest
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.neighbours import build
from priorbench.tensors import map_tensors

COUNT = 12


def waters(count: int = COUNT, side: int = 3, seed: int = 0, **results: str) -> list[Atoms]:
    """Boxes of water with thermal labels; ``results`` renames them (energy=..., forces=...)."""
    random = np.random.default_rng(seed)
    structures = []
    for _ in range(count):
        positions, cell, numbers = water_box(random, side)
        structure = Atoms(numbers, positions=positions, cell=cell, pbc=True)
        atoms = len(numbers)
        label(structure, random.normal(-0.2 * atoms, 0.05 * np.sqrt(atoms)), random.normal(scale=0.7, size=(atoms, 3)))
        structures.append(structure)
    return structures


def label(structure: Atoms, energy: float, forces: np.ndarray) -> None:
    structure.calc = SinglePointCalculator(structure, energy=energy, forces=forces)


def energies(structures: list[Atoms]) -> np.ndarray:
    return np.array([s.calc.results["energy"] for s in structures])


def forces(structures: list[Atoms]) -> np.ndarray:
    return np.concatenate([s.calc.results["forces"] for s in structures])


def saved(folder: Path, structures: list[Atoms]) -> Path:
    path = folder / "own.xyz"
    write(path, structures, format="extxyz")
    return path


def load(path: Path, **options: Any) -> Frames:
    source = ExtXYZ(ExtXYZOptions(path=str(path), **options))
    part = path.parent / "raw" / "structures.npz"
    source.acquire("structures", None, part)
    return source.convert({"structures": part})


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(PriorbenchError) as refusal:
        load(path, **options)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_labels_arrive_unchanged_and_fixed_atoms_keep_their_forces(tmp_path: Path) -> None:
    structures = waters()
    expected = forces(structures)
    for structure in structures:
        structure.set_constraint(FixAtoms([0, 1]))
    frames = load(saved(tmp_path, structures))
    np.testing.assert_allclose(frames.forces, expected, atol=1e-8)
    np.testing.assert_allclose(frames.energies, energies(structures), atol=1e-8)
    np.testing.assert_allclose(frames.positions, np.concatenate([s.positions for s in structures]), atol=1e-8)
    assert frames.pbc.all()
    assert frames.metadata["labels"] == {"energy": "energy", "forces": "forces"}


@pytest.mark.parametrize("layout", ["any order", "unwrapped", "triclinic", "slab", "cluster"])
def test_molecules_are_found_in_any_layout(tmp_path: Path, layout: str) -> None:
    random = np.random.default_rng(1)
    structures = waters(seed=2)
    if layout == "any order":
        structures = [s[random.permutation(len(s))] for s in structures]
    for structure in structures:
        if layout == "unwrapped":
            structure.positions += random.integers(-3, 4, structure.positions.shape) @ structure.cell.array
        if layout == "triclinic":  # the same lattice in other vectors
            structure.set_cell(np.array([[1, 0, 0], [1, 1, 0], [-1, 0, 1]]) @ structure.cell.array)
        if layout in ("slab", "cluster"):
            unwrap(structure)
            structure.pbc = (True, True, False) if layout == "slab" else False
            structure.set_cell(np.diag([*structure.cell.lengths()[:2], 30.0]) if layout == "slab" else None)
            structure.positions[:, 2] += 10.0
    for structure in structures:
        if structure.calc is None or len(structure.calc.results) == 0:
            label(structure, -16.0 + random.normal(), random.normal(scale=0.7, size=(len(structure), 3)))
    frames = load(saved(tmp_path, structures))
    assert (frames.molecules >= 0).all()
    assert len(frames.bonds) == 2 * 27 * COUNT


def unwrap(structure: Atoms) -> None:
    """Bring the hydrogens to their oxygen."""
    for oxygen in range(0, len(structure), 3):
        vectors = structure.get_distances(oxygen, [oxygen + 1, oxygen + 2], mic=True, vector=True)
        structure.positions[[oxygen + 1, oxygen + 2]] = structure.positions[oxygen] + vectors


def test_several_sizes_may_be_mixed(tmp_path: Path) -> None:
    structures = [s for pair in zip(waters(side=2), waters(side=3), strict=True) for s in pair]
    frames = load(saved(tmp_path, structures))
    assert frames.sizes.tolist() == [24, 81] * COUNT
    np.testing.assert_allclose(frames.forces, forces(structures), atol=1e-8)


@pytest.mark.parametrize("name", ["energy", "free_energy", "energies", "REF_energy", "total_energy"])
def test_energies_are_found_under_any_usual_name(tmp_path: Path, name: str) -> None:
    structures = waters()
    expected = energies(structures)
    for structure, energy in zip(structures, expected, strict=True):
        results = {"forces": structure.calc.results["forces"]}
        if name == "energies":
            results["energies"] = np.full(len(structure), energy / len(structure))
        elif name in ("energy", "free_energy"):
            results[name] = energy
        else:
            structure.info[name] = energy
        structure.calc = SinglePointCalculator(structure, **results)
    frames = load(saved(tmp_path, structures))
    np.testing.assert_allclose(frames.energies, expected, atol=1e-5)
    assert frames.metadata["labels"]["energy"] == name


def test_labels_of_two_levels_of_theory_are_never_mixed(tmp_path: Path) -> None:
    # An energy of one was paired with the forces of the other, without a word.
    structures = waters()
    for structure in structures:
        results = structure.calc.results
        structure.info["REF_energy"] = results["energy"] - 1.0
        structure.arrays["REF_forces"] = results.pop("forces") * 1.1
    path = saved(tmp_path, structures)
    assert load(path).metadata["labels"] == {"energy": "REF_energy", "forces": "REF_forces"}
    for structure in structures:
        structure.calc.results["forces"] = structure.arrays["REF_forces"] / 1.1
    path = saved(tmp_path, structures)
    message = "several kinds of labels (energy with forces, REF_energy with REF_forces); choose by energy_key"
    assert message in refused(path)
    frames = load(path, energy_key="REF_energy", forces_key="REF_forces")
    np.testing.assert_allclose(frames.energies, energies(structures) - 1.0, atol=1e-6)
    for structure in structures:
        structure.info["REF_energy"] = structure.calc.results["energy"]
        structure.arrays["REF_forces"] = structure.calc.results["forces"]
    assert load(saved(tmp_path, structures)).metadata["labels"] == {"energy": "energy", "forces": "forces"}


@pytest.mark.parametrize("lacks", ["REF_energy", "REF_forces"])
def test_a_kind_of_labels_that_lacks_one_is_not_mixed_with_another(tmp_path: Path, lacks: str) -> None:
    # One missing label of a level of theory was enough to take that of another.
    structures = waters()
    for index, structure in enumerate(structures):
        results = structure.calc.results
        structure.info["REF_energy"] = results["energy"] - 1.0
        structure.arrays["REF_forces"] = results["forces"] * 1.1
        results.pop({"REF_energy": "forces", "REF_forces": "energy"}[lacks])
        if index == 5:
            structure.info.pop(lacks, structure.arrays.pop(lacks, None))
    assert "not of one kind for all structures" in refused(saved(tmp_path, structures))


def test_a_file_may_be_called_by_its_temperature(tmp_path: Path) -> None:
    # ASE takes what follows an @ for an index.
    saved(tmp_path, waters()).rename(tmp_path / "water@300K.xyz")
    assert len(load(tmp_path / "water@300K.xyz")) == COUNT


@pytest.mark.parametrize("lattice", ["fcc", "bcc", "hexagonal"])
def test_frames_at_constant_pressure_stay_comparable_in_reduced_cells(tmp_path: Path, lattice: str) -> None:
    # Each cell was reduced by itself, to a basis that flips from frame to frame.
    cells = {
        "fcc": [[0, 3.6, 3.6], [3.6, 0, 3.6], [3.6, 3.6, 0]],
        "bcc": [[-4, 4, 4], [4, -4, 4], [4, 4, -4]],
        "hexagonal": [[5, 0, 0], [2.5, 4.33, 0], [5, 4.33, 8]],
    }
    random, structures = np.random.default_rng(6), []
    for index in range(60):
        cell = np.array(cells[lattice]) @ (np.eye(3) + random.normal(0, 0.001, (3, 3)))
        structure = Atoms("Cu4", scaled_positions=np.arange(12).reshape(4, 3) / 13, cell=cell, pbc=True)
        structure.positions += np.random.default_rng(index // 2).normal(0, 0.1, (4, 3))
        label(structure, random.normal(), random.normal(size=(4, 3)))
        structures.append(structure)
    frames = load(saved(tmp_path, structures), check_units=False)
    assert np.unique(kinds(frames, np.arange(60))).tolist() == [0]
    apart = closest(frames, np.arange(0, 60, 2), np.arange(1, 60, 2))
    assert apart.max() < 0.03


def test_a_refused_file_leaves_no_part(tmp_path: Path) -> None:
    # It was written first and refused by the next step.
    BAD["overlap"][0](tmp_path)
    assert "overlap" in refused(tmp_path / "own.xyz")
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["own.xyz"]


def test_atoms_that_drifted_away_are_wrapped_and_skewed_cells_reduced(tmp_path: Path) -> None:
    structures = waters(seed=3)
    still = load(saved(tmp_path, structures))
    for structure in structures[:6]:
        structure.positions[5] += np.array([300, -200, 40]) @ structure.cell.array
        structure.positions[:3] += np.array([0, 3000, 0]) @ structure.cell.array
    for structure in structures[6:]:
        structure.set_cell(np.array([[1, 0, 0], [3, 1, 0], [-5, 2, 1]]) @ structure.cell.array)
    frames = load(saved(tmp_path, structures))
    np.testing.assert_array_equal(frames.molecules, still.molecules)
    assert np.abs(frames.positions).max() < 60
    np.testing.assert_allclose(np.sort(np.abs(frames.cells), axis=1), np.sort(still.cells, axis=1), atol=1e-6)
    np.testing.assert_array_equal(frames.cells[:6], still.cells[:6])
    frames.save(tmp_path / "frames.safetensors")
    build(tmp_path / "frames.safetensors", 3.5, tmp_path / "neighbours.safetensors")
    still.save(tmp_path / "still.safetensors")
    build(tmp_path / "still.safetensors", 3.5, tmp_path / "still-neighbours.safetensors")
    counts = [map_tensors(tmp_path / f"{name}neighbours.safetensors")[0]["counts"] for name in ("", "still-")]
    np.testing.assert_array_equal(*counts)


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        (np.array([[0, 9.3, 0], [0, 0, 0], [0, 0, 0]]), (True, False, False)),
        (np.array([[0, 9.3, 0], [0, 9.3, 9.3], [0, 0, 0]]), (True, True, False)),
        (np.array([[9.3, 0, 0], [0, 0, 0], [9.3, 0, 9.3]]), (True, False, True)),
    ],
)
def test_wires_and_layers_may_lie_along_any_axis(tmp_path: Path, cell: np.ndarray, pbc: Any) -> None:
    structures = waters()
    for structure in structures:
        results = structure.calc.results
        unwrap(structure)
        structure.set_cell(cell)
        structure.pbc = pbc
        structure.positions[4] += 20 * cell[0]
        label(structure, results["energy"], results["forces"])
    frames = load(saved(tmp_path, structures))
    assert np.abs(frames.positions).max() < 40
    assert len(frames.bonds) >= 2 * 27 * COUNT


def test_a_cell_that_is_reduced_stays_as_it_is(tmp_path: Path) -> None:
    structures = waters(seed=3)
    for structure in structures:
        structure.set_cell(structure.cell.array * [[1.0], [1.3], [1.1]])
        structure.calc = SinglePointCalculator(structure, energy=-np.random.random(), forces=structure.positions % 1)
    frames = load(saved(tmp_path, structures), check_units=False)
    np.testing.assert_allclose(frames.cells, np.stack([s.cell.array for s in structures]), atol=1e-8)


def test_a_molecule_far_from_the_origin_is_moved_there(tmp_path: Path) -> None:
    # Single precision has no place for a bond at 100,000 Å.
    structures = waters(side=1, seed=4)
    for structure in structures:
        unwrap(structure)
        structure.set_pbc(False)
        structure.set_cell(None)
        structure.positions += 1e5
    frames = load(saved(tmp_path, structures), check_units=False)
    assert np.abs(frames.positions).max() < 3
    assert (frames.molecules == 0).all()


@pytest.mark.parametrize("kind", ["rattled", "with water", "argon", "lone atoms", "volume scan", "still"])
def test_real_physics_is_not_taken_for_other_units(tmp_path: Path, kind: str) -> None:
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.calculators.lj import LennardJones

    random = np.random.default_rng(5)
    structures = []
    for index in range(COUNT):
        if kind == "argon":
            structure = bulk("Ar", "fcc", a=5.4, cubic=True) * 2
            structure.positions += random.normal(0, 0.1, structure.positions.shape)
            structure.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=8.0)
        else:
            structure = (
                bulk("Cu", "fcc", a=3.6 + (0.01 * index if kind in ("volume scan", "still") else 0), cubic=True) * 2
            )
            structure.positions += random.normal(
                0, {"rattled": 0.01, "still": 0.0}.get(kind, 0.03), structure.positions.shape
            )
            structure.calc = EMT()
        energy, own = structure.get_potential_energy(), structure.get_forces()
        label(structure, energy, own)
        structures.append(structure)
    if kind == "lone atoms":
        for symbol in ("Cu", "H", "O"):
            atom = Atoms(symbol)
            label(atom, -1.0, np.zeros((1, 3)))
            structures.append(atom)
    if kind == "with water":
        structures += waters()
    assert len(load(saved(tmp_path, structures))) == len(structures)


def test_hartree_is_noticed_where_atoms_hardly_move(tmp_path: Path) -> None:
    from ase.build import bulk
    from ase.calculators.emt import EMT

    structures = []
    for index in range(COUNT):
        structure = bulk("Cu", "fcc", a=3.6, cubic=True) * 2
        structure.positions += np.random.default_rng(index).normal(0, 0.01, structure.positions.shape)
        structure.calc = EMT()
        energy, own = structure.get_potential_energy(), structure.get_forces()
        label(structure, energy / units.Hartree, own)
        structures.append(structure)
    assert "they seem to be in Hartree, not eV" in refused(saved(tmp_path, structures))


def test_blocks_need_trajectories(tmp_path: Path) -> None:
    structures = [s for pair in zip(waters(side=2), waters(side=3), strict=True) for s in pair]
    assert "alternate: there are 12 stretches like that from structure 0" in failing(
        saved(tmp_path, structures), block=4
    )


def failing(path: Path, **options: Any) -> str:
    with pytest.raises(PriorbenchError) as refusal:
        load(path, **options)
    return str(refusal.value)


def test_a_named_key_is_taken_instead(tmp_path: Path) -> None:
    structures = waters()
    for structure in structures:
        structure.info["mp2"] = structure.calc.results["energy"] - 1.0
        structure.arrays["mp2_forces"] = structure.calc.results["forces"] * 1.1
    path = saved(tmp_path, structures)
    frames = load(path, energy_key="mp2", forces_key="mp2_forces")
    np.testing.assert_allclose(frames.energies, energies(structures) - 1.0, atol=1e-6)
    np.testing.assert_allclose(frames.forces, forces(structures) * 1.1, atol=1e-6)
    assert "structure 0: it has no energy (looked for mp3)" in refused(path, energy_key="mp3")


def test_declared_units_are_converted(tmp_path: Path) -> None:
    structures = waters()
    kcal = units.kcal / units.mol
    odd = [Atoms(s.numbers, s.positions / units.Bohr, cell=s.cell / units.Bohr, pbc=True) for s in structures]
    for structure, own in zip(structures, odd, strict=True):
        results = structure.calc.results
        label(own, results["energy"] / kcal, results["forces"] * units.Bohr / kcal)
    frames = load(saved(tmp_path, odd), length_unit="Bohr", energy_unit="kcal/mol")
    np.testing.assert_allclose(frames.positions, np.concatenate([s.positions for s in structures]), atol=1e-6)
    np.testing.assert_allclose(frames.forces, forces(structures), atol=1e-6)
    np.testing.assert_allclose(frames.energies, energies(structures), atol=1e-6)


def test_groups_come_from_a_key_from_blocks_or_from_near_duplicates(tmp_path: Path) -> None:
    structures = waters()
    for index, structure in enumerate(structures):
        structure.info["run"] = f"run{index % 3}"
    structures[7].positions = structures[4].positions + 0.02
    structures[7].cell = structures[4].cell
    path = saved(tmp_path, structures)
    assert load(path, group_key="run").groups.tolist() == [i % 3 for i in range(COUNT)]
    assert load(path, block=5).groups.tolist() == [0] * 5 + [1] * 7
    groups = load(path).groups
    assert groups[7] == groups[4]
    assert len(np.unique(groups)) == COUNT - 1
    assert "structure 0: it has no key 'walk'" in refused(path, group_key="walk")


def spoil(change: Callable[[Atoms], None], at: int = 3) -> Callable[[Path], None]:
    def write_spoiled(folder: Path) -> None:
        structures = waters()
        change(structures[at])
        saved(folder, structures)

    return write_spoiled


def all_scaled(length: float = 1.0, energy: float = 1.0, force: float = 1.0, shift: float = 0.0) -> Any:
    def write_scaled(folder: Path) -> None:
        structures = waters()
        for s in structures:
            results = dict(s.calc.results)
            s.set_cell(s.cell * length, scale_atoms=True)
            label(s, (results["energy"] + shift * len(s)) * energy, results["forces"] * force)
        saved(folder, structures)

    return write_scaled


def text(change: Callable[[str], str]) -> Callable[[Path], None]:
    def write_text(folder: Path) -> None:
        path = saved(folder, waters(count=4))
        path.write_text(change(path.read_text()))

    return write_text


def outside(s: Atoms) -> None:
    s.pbc = (True, True, False)
    s.positions[:, 2] += 0.01
    s.positions[5, 2] = float(s.cell[2, 2]) + 1.0


LINES = 4 * (81 + 2)
BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "positions in Bohr": (all_scaled(length=1 / units.Bohr), "positions seem to be in Bohr"),
    "positions in nm": (all_scaled(length=0.1), "positions seem to be in nm"),
    "energies in Hartree": (all_scaled(energy=1 / units.Hartree, shift=-156.0), "they seem to be in Hartree, not eV"),
    "energies in kcal/mol": (all_scaled(energy=units.mol / units.kcal, shift=-156.0), "in kcal/mol or kJ/mol, not eV"),
    "forces in kcal/mol/Å": (all_scaled(force=units.mol / units.kcal), "not eV/Å"),
    "forces in Hartree/Bohr": (all_scaled(force=units.Bohr / units.Hartree), "in Hartree/Bohr, not eV/Å"),
    "overlap": (spoil(lambda s: s.positions.__setitem__(1, s.positions[0] + 0.1)), "structure 3: atoms 0 and 1 are"),
    "no energy": (spoil(lambda s: s.calc.results.pop("energy")), "structure 3: it has no energy (looked for energy,"),
    "no forces": (spoil(lambda s: s.calc.results.pop("forces")), "structure 3: it has no forces"),
    "NaN energy": (spoil(lambda s: s.calc.results.update(energy=np.nan)), "structure 3: its energy is missing"),
    "NaN force": (spoil(lambda s: s.calc.results["forces"].__setitem__(4, np.nan)), "structure 3: a force is missing"),
    "atom outside": (spoil(outside), "structure 3: an atom lies outside the cell along a non-periodic direction"),
    "flat cell": (spoil(lambda s: s.set_cell(np.diag([9.3, 9.3, 0.0]))), "structure 3: its periodic cell has zero"),
    "no element": (spoil(lambda s: s.numbers.__setitem__(2, 0)), "structure 3: 'X' is no element"),
    "unknown symbol": (text(lambda t: t.replace("\nO ", "\nQq", 1)), "structure 0: 'Qq' is no element"),
    "cut in an atom": (text(lambda t: t[: len(t) - 700]), "structure 3: "),
    "cut between lines": (
        text(lambda t: "".join(t.splitlines(keepends=True)[: LINES - 10])),
        "structure 3: ends after 71 of 81 atoms; the file is cut short",
    ),
    "cut after the count": (text(lambda t: "".join(t.splitlines(keepends=True)[: LINES - 82])), "ends after 0 of 81"),
    "a line missing": (
        text(lambda t: "".join(line for i, line in enumerate(t.splitlines(keepends=True)) if i != 90)),
        "structure 1: atom 80 has 1 columns",
    ),
    "empty": (text(lambda t: ""), "holds no structure"),
    "cut in the last number": (text(lambda t: t.rstrip()[:-3]), "structure 3: atom 80 seems to end within a number"),
    "a blank line": (text(lambda t: t + "\n" + t), "structure 4: comes after a blank line, where reading ends"),
    "a leading blank line": (text(lambda t: "\n" + t), "structure 0: comes after a blank line"),
    "a byte order mark": (text(lambda t: "\ufeff" + t), "structure 0: the file starts with a byte order mark"),
    "numbers of another language": (
        text(lambda t: re.sub(r" energy=\S+", " energy=-1.6D+01", t)),
        "structure 0: its energy cannot be read as energy: '-1.6D+01'",
    ),
    "energies that are placeholders": (
        lambda folder: saved(folder, [s for s in waters() if s.calc.results.update(energy=-5.0) is None]) and None,
        "all 12 structures of its composition have the same energy",
    ),
    "fractional coordinates": (
        lambda folder: (
            saved(folder, [s for s in waters() if s.set_positions(s.get_scaled_positions()) is None]) and None
        ),
        "positions seem to be fractional or in nm",
    ),
    "an atom far away": (
        spoil(lambda s: (s.set_pbc(False), s.set_cell(None), s.positions.__setitem__(3, [4000.0, 4000.0, 0]))),
        "structure 3: atoms lie more than 1000 Å apart along a non-periodic direction",
    ),
    "not text": (lambda folder: (folder / "own.xyz").write_bytes(b"\x80\x04\x95\xff"), "is not UTF-8 text"),
}


@pytest.mark.parametrize(("spoiled", "reason"), BAD.values(), ids=BAD)
def test_what_cannot_be_trained_on_is_refused_and_leaves_nothing(
    tmp_path: Path, spoiled: Callable[[Path], None], reason: str
) -> None:
    spoiled(tmp_path)
    assert reason in refused(tmp_path / "own.xyz")


def test_a_file_cut_anywhere_is_refused_or_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    path = saved(tmp_path, waters(count=2, side=2))
    whole = path.read_text()
    expected = load(path, check_units=False).forces
    for end in np.random.default_rng(0).integers(1, len(whole) - 30, 60):
        path.write_text(whole[:end])
        try:
            frames = load(path, check_units=False)
        except PriorbenchError:
            continue
        np.testing.assert_array_equal(frames.forces, expected[: len(frames.forces)])


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("gone.xyz", {}, "no such file"),
        ("own.xyz.gz", {}, r"only plain extended XYZ \(.xyz or .extxyz\) is read"),
        ("own.pkl", {}, "only plain extended XYZ"),
        ("own.xyz", {"sha256": "0" * 64}, "it was altered"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, name: str, options: Any, reason: str) -> None:
    path = saved(tmp_path, waters(count=1))
    if name != "gone.xyz":
        (tmp_path / name).write_bytes(path.read_bytes())
    with pytest.raises(PriorbenchError, match=reason):
        load(tmp_path / name, **options)
    assert not (tmp_path / "raw" / "structures.npz").exists()


def test_group_key_and_block_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        ExtXYZOptions(path="x.xyz", group_key="run", block=3)
