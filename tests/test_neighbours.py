"""Neighbour lists equal ASE's, are stored with images and cannot be used with other frames."""

from pathlib import Path

import numpy as np
import pytest
from ase.neighborlist import primitive_neighbor_list

from priorbench.datasets.blocks import assemble, rectangular
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.neighbours import Neighbours, build, neighbour_list, neighbours_by_receiver

CASES = {
    "small cube, cutoff beyond its edge": (np.eye(3) * 3.1, (True, True, True), 3.5),
    "cube": (np.eye(3) * 7.0, (True, True, True), 3.0),
    "triclinic": (np.array([[5.0, 0, 0], [3.5, 4.0, 0], [-2.0, 1.5, 6.0]]), (True, True, True), 4.0),
    "left-handed": (np.array([[0, 5.0, 0], [5.5, 0, 0], [0, 0, 6.0]]), (True, True, True), 4.0),
    "slab": (np.diag([5.0, 6.0, 20.0]), (True, True, False), 4.0),
    "wire along b": (np.diag([9.0, 4.0, 9.0]), (False, True, False), 4.5),
    "isolated": (np.diag([6.0, 6.0, 6.0]), (False, False, False), 4.0),
}


def edges(receivers: np.ndarray, senders: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    return np.column_stack([receivers, senders, shifts]).astype(int)


@pytest.mark.parametrize(("cell", "pbc", "cutoff"), CASES.values(), ids=CASES)
def test_list_equals_ase_in_sorted_order(cell: np.ndarray, pbc: tuple[bool, ...], cutoff: float) -> None:
    positions = np.random.default_rng(3).uniform(-8, 12, (14, 3))  # not wrapped
    senders, receivers, shifts = neighbour_list(positions, cell, np.array(pbc), cutoff)
    expected = edges(*primitive_neighbor_list("ijS", pbc, cell, positions, cutoff))
    found = edges(receivers, senders, shifts)
    assert len(found) > 0
    np.testing.assert_array_equal(found, expected[np.lexsort(expected.T[::-1])])
    assert (senders.dtype, receivers.dtype, shifts.dtype) == (np.int32, np.int32, np.int8)


@pytest.mark.parametrize(("cell", "pbc", "cutoff"), CASES.values(), ids=CASES)
def test_the_list_by_receiver_has_the_same_edges(cell: np.ndarray, pbc: tuple[bool, ...], cutoff: float) -> None:
    positions = np.random.default_rng(3).uniform(-8, 12, (14, 3))
    senders, receivers, shifts = neighbours_by_receiver(positions, cell, np.array(pbc), cutoff)
    found = edges(receivers, senders, shifts)
    whole = neighbour_list(positions, cell, np.array(pbc), cutoff)
    assert (np.diff(receivers) >= 0).all()
    np.testing.assert_array_equal(found[np.lexsort(found.T[::-1])], edges(whole[1], whole[0], whole[2]))


def test_edge_vectors_point_from_receiver_to_sender_and_come_in_both_directions() -> None:
    cell, pbc, cutoff = CASES["triclinic"]
    positions = np.random.default_rng(4).uniform(0, 6, (9, 3))
    senders, receivers, shifts = neighbour_list(positions, cell, np.array(pbc), cutoff)
    vectors = positions[senders] - positions[receivers] + shifts @ cell
    lengths = np.linalg.norm(vectors, axis=1)
    assert 0 < lengths.min() <= lengths.max() <= cutoff
    forward = {tuple(edge) for edge in edges(receivers, senders, shifts)}
    assert forward == {tuple(edge) for edge in edges(senders, receivers, -shifts)}
    assert not ((senders == receivers) & (shifts == 0).all(axis=1)).any()


def test_a_lone_atom_meets_its_images_only_if_there_are_any() -> None:
    place, periodic = np.zeros((1, 3)), np.ones(3, bool)
    assert len(neighbour_list(place, np.eye(3) * 3, periodic, 3.5)[0]) == 6
    assert len(neighbour_list(place, np.zeros((3, 3)), ~periodic, 3.5)[0]) == 0


def test_an_atom_too_many_cells_away_is_refused_instead_of_overflowing() -> None:
    positions = np.array([[0.0, 0, 0], [200 * 3.0 + 1, 0, 0]])
    with pytest.raises(PriorbenchError, match="127 cells"):
        neighbour_list(positions, np.eye(3) * 3, np.ones(3, bool), 2.0)
    with pytest.raises(PriorbenchError, match="127 cells"):
        neighbours_by_receiver(positions, np.eye(3) * 3, np.ones(3, bool), 2.0)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    random = np.random.default_rng(5)
    crowd = rectangular(
        positions=random.uniform(0, 5, (3, 6, 3)),
        forces=np.zeros((3, 6, 3)),
        energies=np.zeros(3),
        cells=np.tile(np.eye(3) * 5, (3, 1, 1)),
        atomic_numbers=np.full(6, 1, np.int16),
        groups=np.arange(3, dtype=np.int32),
    )
    alone = rectangular(
        positions=np.zeros((1, 1, 3)),
        forces=np.zeros((1, 1, 3)),
        energies=np.zeros(1),
        cells=np.eye(3)[None] * 50,
        atomic_numbers=np.full(1, 8, np.int16),
        groups=np.zeros(1, np.int32),
    )
    path = tmp_path / "frames.safetensors"
    assemble([alone, crowd], {"subsystems": ["all"]}, plausible=False).save(path)
    return path


def test_stored_lists_are_those_of_each_structure_and_the_same_bytes_every_time(frames: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    build(frames, 3.0, first)
    build(frames, 3.0, second)
    assert first.read_bytes() == second.read_bytes()
    content = Frames.load(frames)
    stored = Neighbours.load(first, content.metadata["hash"], 3.0)
    assert stored.edge_offsets[0] == stored.edge_offsets[1] == 0  # the lone atom has no edge
    for structure in range(len(content)):
        fresh = neighbour_list(
            content.positions[content.atoms_of(structure)], content.cells[structure], content.pbc[structure], 3.0
        )
        for kept, expected in zip(stored.edges_of(content.offsets, structure), fresh, strict=True):
            np.testing.assert_array_equal(kept, expected)
            assert kept.dtype == expected.dtype


def test_a_list_of_other_frames_or_another_cutoff_is_refused(frames: Path, tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    build(frames, 3.0, path)
    own = Frames.load(frames).metadata["hash"]
    with pytest.raises(PriorbenchError, match="other frames"):
        Neighbours.load(path, "0" * 64, 3.0)
    with pytest.raises(PriorbenchError, match=r"cutoff 3 Å, not 3\.5 Å"):
        Neighbours.load(path, own, 3.5)
    with pytest.raises(PriorbenchError, match="not a neighbour list"):
        Neighbours.load(frames, own, 3.0)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan")])
def test_a_cutoff_that_is_no_length_is_refused_and_nothing_is_written(
    frames: Path, tmp_path: Path, cutoff: float
) -> None:
    with pytest.raises(PriorbenchError, match="cutoff"):
        build(frames, cutoff, tmp_path / "n.safetensors")
    assert not (tmp_path / "n.safetensors").exists()


def test_an_altered_list_is_refused(frames: Path, tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    build(frames, 3.0, path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(PriorbenchError, match="does not match its hash"):
        Neighbours.load(path, Frames.load(frames).metadata["hash"], 3.0)
