"""The DFT set: counts and spreads of the original where a mirror has it, its rules on made-up structures elsewhere."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.neighborlist import primitive_neighbor_list

from priorbench.datasets.archive import write_npz
from priorbench.datasets.card import describe
from priorbench.datasets.groups import draw_groups
from priorbench.datasets.pipeline import acquire, convert, parts, source_for
from priorbench.datasets.revpbe0_d3 import bead_groups, check_shapes
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.neighbours import neighbour_list

needs_mirror = pytest.mark.skipif("PRIORBENCH_MIRROR" not in os.environ, reason="PRIORBENCH_MIRROR is not set")


def dataset(**options: Any) -> dict[str, Any]:
    return {"name": "dft", "source": "revpbe0_d3", "options": options}


def fetched(folder: Path, spec: dict[str, Any]) -> tuple[Frames, dict[str, Any]]:
    files = [folder / f"{part}.npz" for part in parts(spec)]
    for file in files:
        acquire(spec, file.stem, None, file)
    convert(spec, files, folder / "frames.safetensors")
    frames = Frames.load(folder / "frames.safetensors", verify=True)
    return frames, describe(frames)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Frames, dict[str, Any]]:
    return fetched(tmp_path_factory.mktemp("dft"), dataset())


@needs_mirror
def test_counts_and_spreads_are_those_of_the_original(original: tuple[Frames, dict[str, Any]]) -> None:
    frames, card = original
    counts = {"classical_ice": 3, "classical_liq": 179, "quantum_ice": 847, "quantum_liq": 749}
    assert card["structures"] == 1778
    assert card["structures_by_subsystem"] == counts
    assert card["structures_by_atoms"] == {"192": 1778}
    assert card["atoms_by_element"] == {"H": 227584, "O": 113792}
    assert round(card["force_std_eV_per_A"], 3) == 2.118
    assert round(card["energy_std_meV_per_atom"], 1) == 30.8
    assert round(3 * card["energy_mean_eV_per_atom"], 2) == -469.19
    liquid = np.repeat(frames.subsystems == 1, frames.sizes)
    assert round(float(frames.forces[liquid].std()), 3) == 0.816
    net = np.add.reduceat(frames.forces, frames.offsets[:-1], axis=0)
    assert round(float(np.abs(net).max()), 2) == 0.66
    assert card["shortest_distances_A"]["H-O"] == pytest.approx(0.718, abs=1e-3)


@needs_mirror
def test_beads_form_1427_groups_and_71_structures_are_not_all_intact(original: tuple[Frames, dict[str, Any]]) -> None:
    assert original[1]["groups"] == 1427
    assert original[1]["structures_not_all_intact"] == 71


@needs_mirror
def test_the_nearest_oxygen_rule_fails_for_14_structures_all_among_the_71(
    original: tuple[Frames, dict[str, Any]],
) -> None:
    frames = original[0]
    water = frames.positions.reshape(-1, 192, 3)
    failing = []
    for structure, (x, cell) in enumerate(zip(water, frames.cells, strict=True)):
        apart = (x[64:, None] - x[None, :64]) @ np.linalg.inv(cell)
        apart = (apart - np.round(apart)) @ cell
        nearest = (apart**2).sum(-1).argmin(1)
        if (np.bincount(nearest, minlength=64) != 2).any():
            failing.append(structure)
    assert len(failing) == 14 == original[1]["nearest_oxygen_fails"]
    assert all((frames.molecules[frames.atoms_of(structure)] == -1).any() for structure in failing)


@needs_mirror
def test_neighbour_lists_of_a_sample_equal_ase(original: tuple[Frames, dict[str, Any]]) -> None:
    frames = original[0]
    for structure in (0, 100, 900, 1700):
        positions, cell = frames.positions[frames.atoms_of(structure)], frames.cells[structure]
        senders, receivers, shifts = neighbour_list(positions, cell, frames.pbc[structure], 4.0)
        expected = np.column_stack(primitive_neighbor_list("ijS", [True] * 3, cell, positions, 4.0))
        found = np.column_stack([receivers, senders, shifts])
        np.testing.assert_array_equal(found, expected[np.lexsort(expected.T[::-1])])


@needs_mirror
def test_forces_are_never_changed(original: tuple[Frames, dict[str, Any]]) -> None:
    mirror = Path(os.environ["PRIORBENCH_MIRROR"])
    ice = np.load(mirror / "revpbe0_d3" / "classical_ice" / "set.000" / "force.npy")
    np.testing.assert_array_equal(original[0].forces[: 3 * 192].ravel(), ice.ravel())


@needs_mirror
def test_filters_keep_intact_structures_and_whole_groups(tmp_path: Path) -> None:
    spec = dataset(subsystems=["quantum_liq", "classical_ice"], intact_only=True, max_structures=100)
    frames, card = fetched(tmp_path, spec)
    assert card["subsystems"] == ["quantum_liq", "classical_ice"]
    assert 90 < len(frames) <= 100
    assert card["structures_not_all_intact"] == 0
    assert card["intact_molecules"] == 64 * len(frames)
    assert sorted(set(frames.groups)) == list(range(card["groups"]))


@needs_mirror
def test_an_altered_mirror_file_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, copy = Path(os.environ["PRIORBENCH_MIRROR"]) / "revpbe0_d3" / "classical_ice", tmp_path / "mirror"
    for file in source.rglob("*.*"):
        if file.is_file():
            target = copy / "revpbe0_d3" / "classical_ice" / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes()[:-1] if file.name == "force.npy" else file.read_bytes())
    monkeypatch.setenv("PRIORBENCH_MIRROR", str(copy))
    with pytest.raises(PriorbenchError, match=r"force\.npy: the mirror's copy is altered"):
        acquire(dataset(), "classical_ice", None, tmp_path / "classical_ice.npz")
    assert not (tmp_path / "classical_ice.npz").exists()


def test_beads_are_grouped_across_the_boundary_but_never_across_cells() -> None:
    random = np.random.default_rng(0)
    cell, other = np.eye(3) * 10, np.eye(3) * 10.001
    frame = random.uniform(0, 10, (20, 3))
    bead = (frame + random.normal(0, 0.05, frame.shape)) % 10  # some atoms leave on one side and enter on the other
    apart = frame + random.normal(0, 0.4, frame.shape)
    groups = bead_groups(np.array([frame, apart, bead, frame]), np.array([cell, cell, cell, other]))
    assert groups.tolist() == [0, 1, 0, 2]


def test_drawing_takes_whole_groups_the_same_every_time() -> None:
    groups = np.repeat(np.arange(20), [1, 2, 3, 4] * 5).astype(np.int32)
    drawn = draw_groups(groups, 17)
    assert 13 < len(drawn) <= 17
    np.testing.assert_array_equal(drawn, draw_groups(groups, 17))
    for group in set(groups[drawn]):
        assert (groups[drawn] == group).sum() == (groups == group).sum()


def structures(count: int) -> dict[str, np.ndarray]:
    """As acquired: the same intact water ``count`` times."""
    water = np.array([[1.0, 1, 1], [1.76, 1, 1.59], [0.24, 1, 1.59]])
    return {
        "box": np.tile(np.eye(3).ravel() * 8.0, (count, 1)),
        "coord": np.tile(water.ravel(), (count, 1)),
        "energy": np.arange(float(count)),
        "force": np.ones((count, 9)),
        "type": np.array([0, 1, 1]),
        "type_map": np.array(["O", "H"]),
        "part": np.array("classical_ice"),
    }


def test_arrays_that_do_not_fit_each_other_are_refused() -> None:
    check_shapes("part", structures(4))
    for name, wrong in (("force", np.ones((4, 6))), ("box", np.ones((3, 9))), ("coord", np.ones((4, 9), int))):
        with pytest.raises(PriorbenchError, match=rf"part: {name}\.npy"):
            check_shapes("part", {**structures(4), name: wrong})
    with pytest.raises(PriorbenchError, match=r"type\.raw"):
        check_shapes("part", {**structures(4), "type": np.array([0, 1, 2])})


def test_types_follow_the_map_and_not_an_assumed_order(tmp_path: Path) -> None:
    swapped = {**structures(2), "type": np.array([1, 0, 0]), "type_map": np.array(["H", "O"])}
    write_npz(tmp_path / "classical_ice.npz", **swapped)
    source = source_for("revpbe0_d3", {"subsystems": ["classical_ice"]})
    frames = source.convert({"classical_ice": tmp_path / "classical_ice.npz"})
    assert frames.atomic_numbers.tolist() == [8, 1, 1] * 2
    assert frames.molecules.tolist() == [0] * 6
    assert frames.groups.tolist() == [0, 0]


def test_a_part_of_another_subsystem_is_refused(tmp_path: Path) -> None:
    # It was taken, and the card stated the hashes of the one it should have been.
    write_npz(tmp_path / "classical_ice.npz", **{**structures(2), "part": np.array("quantum_ice")})
    with pytest.raises(PriorbenchError, match=r"classical_ice\.npz: holds quantum_ice, not classical_ice"):
        source_for("revpbe0_d3", {"subsystems": ["classical_ice"]}).convert(
            {"classical_ice": tmp_path / "classical_ice.npz"}
        )


def test_structures_in_which_the_nearest_oxygen_rule_fails_are_counted(tmp_path: Path) -> None:
    two = structures(3)
    water = two["coord"][0].reshape(-1, 3)
    both = np.concatenate([water, water + 3.0])
    arrays = {**two, "type": np.array([0, 1, 1, 0, 1, 1]), "coord": np.tile(both.ravel(), (3, 1))}
    arrays["coord"] = arrays["coord"].reshape(3, 6, 3).copy()
    arrays["coord"][1, 2] = both[3] + [-0.6, -0.6, -0.5]  # has gone over to the other oxygen
    arrays["coord"] = arrays["coord"].reshape(3, 18)
    arrays["force"] = np.random.default_rng(0).normal(size=(3, 18))
    write_npz(tmp_path / "classical_ice.npz", **arrays)
    source = source_for("revpbe0_d3", {"subsystems": ["classical_ice"]})
    frames = source.convert({"classical_ice": tmp_path / "classical_ice.npz"})
    assert frames.metadata["nearest_oxygen_fails"] == 1
    few = source_for("revpbe0_d3", {"subsystems": ["classical_ice"], "intact_only": True})
    kept = few.convert({"classical_ice": tmp_path / "classical_ice.npz"})
    assert len(kept) == 2
    assert kept.metadata["nearest_oxygen_fails"] == 0
    # What was left out once decided the shortest distances.
    shortest = [f.metadata["shortest_distances_A"]["H-H"] for f in (frames, kept)]
    assert shortest[0] < shortest[1]


def test_filters_that_leave_nothing_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    torn = structures(3)
    torn["coord"][:, 3] += 2.0
    write_npz(tmp_path / "classical_ice.npz", **torn)
    spec = dataset(subsystems=["classical_ice"], intact_only=True)
    with pytest.raises(PriorbenchError, match="dft: no structure is left"):
        convert(spec, [tmp_path / "classical_ice.npz"], tmp_path / "frames.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["classical_ice.npz"]


def test_unknown_and_repeated_subsystems_are_refused() -> None:
    with pytest.raises(PriorbenchError, match=r"revpbe0_d3\.subsystems\.0"):
        source_for("revpbe0_d3", {"subsystems": ["plasma"]})
    with pytest.raises(PriorbenchError, match="appears twice"):
        source_for("revpbe0_d3", {"subsystems": ["quantum_ice", "quantum_ice"]})
