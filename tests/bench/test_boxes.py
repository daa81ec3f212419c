from pathlib import Path

import numpy as np
import pytest

from priorbench.bench import boxes
from priorbench.bench.boxes import HOH, OH, edges_per_atom, lattice, make_frames, prepare, water_boxes, write_boxes
from priorbench.datasets.blocks import all_intact
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.neighbours import Neighbours


@pytest.mark.parametrize(("atoms", "cutoff", "wanted"), [(774, 3.5, 16.5), (774, 3.4, 14.8), (192, 3.5, 14.0)])
def test_boxes_have_the_edges_of_real_water(tmp_path: Path, atoms: int, cutoff: float, wanted: float) -> None:
    frames = write_boxes(tmp_path, atoms, cutoff, 2)
    neighbours = Neighbours.load(
        tmp_path / "neighbours.safetensors", Frames.load(tmp_path / "frames.safetensors").metadata["hash"], cutoff
    )
    assert len(neighbours.senders) / len(frames.positions) == pytest.approx(wanted, rel=0.01)
    assert list(frames.sizes) == [atoms, atoms]


def test_other_cutoffs_and_sizes_take_what_is_nearest() -> None:
    assert edges_per_atom(192, 3.4) == edges_per_atom(24, 3.4) == 12.6
    assert edges_per_atom(3000, 3.5) == 16.5
    assert edges_per_atom(774, 6.9) == pytest.approx(8 * (16.5 + 14.8) / 2)
    positions, length = water_boxes(192, 6.0, 2)
    assert boxes.count_edges(positions, length, 6.0) / 384 == pytest.approx(edges_per_atom(192, 6.0), rel=0.01)


def test_a_cutoff_that_no_box_can_meet_is_refused() -> None:
    with pytest.raises(PriorbenchError, match=r"no box of 192 atoms has 0\.324 edges per atom at 1 Å"):
        water_boxes(192, 1.0, 1)


def test_molecules_are_rigid_intact_and_not_alike() -> None:
    frames = make_frames(192, 3.5, 3)
    oxygen, first, second = frames.positions.reshape(-1, 3, 3).transpose(1, 0, 2)
    a, b = first - oxygen, second - oxygen
    np.testing.assert_allclose(np.linalg.norm([a, b], axis=2), OH)
    np.testing.assert_allclose((a * b).sum(1), OH**2 * np.cos(HOH))
    assert all_intact(frames).all()
    directions = (a + b) / np.linalg.norm(a + b, axis=1, keepdims=True)
    assert np.linalg.norm(directions.mean(0)) < 0.2


def test_the_seed_decides_everything() -> None:
    first, again, other = (make_frames(24, 3.4, 2, seed) for seed in (0, 0, 1))
    assert first.hash() == again.hash() != other.hash()


@pytest.mark.parametrize("count", [1, 8, 64, 258, 512, 8192, 32768])
def test_lattice_sites_are_far_from_each_other(count: int) -> None:
    sites = lattice(count)
    assert sites.shape == (count, 3)
    apart = sites[1:] - sites[0]
    lengths = np.linalg.norm(apart - np.round(apart), axis=1)
    assert lengths.min(initial=1.0) >= 0.99 * count ** (-1 / 3)  # a cubic lattice has 1, the densest 1.12


def test_backbones_of_one_cutoff_share_their_boxes(tmp_path: Path) -> None:
    places = prepare(str(tmp_path), ["egnn", "gns", "forcenet"], [24], 2)
    assert places["gns"] == places["forcenet"] != places["egnn"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["24-3.4", "24-3.5"]
