"""Near-duplicates are what a plain computation of all distances finds; blocks follow the force autocorrelation."""

from dataclasses import dataclass
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from priorbench.datasets.groups import (
    WATER,
    Nearness,
    autocorrelation_time,
    closest,
    near_duplicates,
    time_blocks,
    typical_distance,
    with_repeats,
)
from priorbench.errors import PriorbenchError

CELLS = {
    "cubic": np.eye(3) * 9.0,
    "hexagonal": np.array([[8.0, 0, 0], [4, 6.93, 0], [0, 0, 9]]),
    "triclinic": np.array([[8.0, 0, 0], [-3, 7.5, 0], [2.5, -3.5, 8]]),
    "skewed": np.array([[8.0, 0, 0], [17, 7.5, 0], [-9, 14, 8]]),  # far from reduced
}
RANDOM = np.random.default_rng(0)
SCATTERED = RANDOM.uniform(0, 8, (12, 3))


@dataclass
class Given:
    """Structures of the same atoms, (S, n, 3)."""

    positions: np.ndarray
    cells: np.ndarray
    pbc: np.ndarray
    atomic_numbers: np.ndarray
    offsets: np.ndarray


def given(
    positions: np.ndarray | list[np.ndarray],
    cell: np.ndarray = CELLS["cubic"],
    pbc: tuple[bool, bool, bool] = (True, True, True),
    numbers: list[int] | None = None,
) -> Given:
    x = np.array(positions)
    count, atoms = x.shape[:2]
    return Given(
        x.reshape(-1, 3),
        np.array(np.broadcast_to(cell, (count, 3, 3))),
        np.tile(np.array(pbc), (count, 1)),
        np.tile(np.array(numbers or [8] * atoms, np.int16), count),
        np.arange(count + 1) * atoms,
    )


def nearest_images(apart: np.ndarray, cell: np.ndarray, pbc: tuple[bool, bool, bool]) -> np.ndarray:
    """Lengths of displacements (..., 3) to the nearest of many images."""
    reach = [range(-4, 5) if periodic else range(1) for periodic in pbc]
    images = np.array(list(product(*reach))) @ cell
    return np.linalg.norm(apart[..., None, :] + images, axis=-1).min(-1)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, True, False)])
def test_distances_are_those_to_the_nearest_images(cell: str, pbc: tuple[bool, bool, bool]) -> None:
    random = np.random.default_rng(1)
    base = random.uniform(0, 8, (6, 3))
    x = base + random.normal(0, 0.5, (30, 6, 3)) * random.uniform(0, 1, (30, 1, 1))
    shifts = random.integers(-1, 2, (30, 6, 3)) * np.array(pbc)
    structures = given(x + shifts @ CELLS[cell], CELLS[cell], pbc)
    rows, columns = np.arange(10), np.arange(10, 30)
    lengths = nearest_images(x[rows][:, None] - x[columns][None], CELLS[cell], pbc)
    expected = np.sqrt((lengths**2).mean(-1) / 3).min(1)
    assert expected.min() < 0.3 < expected.max()
    np.testing.assert_allclose(closest(structures, rows, columns, reach=9.0), expected, atol=1e-9)
    found = closest(structures, rows, columns, reach=0.3)
    np.testing.assert_allclose(found, np.where(expected < 0.3, expected, np.inf), atol=1e-9)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True)])
def test_structures_in_slightly_other_cells_are_compared_by_their_places_in_them(
    cell: str, pbc: tuple[bool, bool, bool]
) -> None:
    # Every frame at constant pressure has a cell of its own; equal cells were asked for, so that all were strangers.
    random = np.random.default_rng(6)
    x = SCATTERED + random.normal(0, 0.3, (20, 12, 3)) * np.linspace(0, 1, 20)[:, None, None]
    strains = np.eye(3) + random.normal(0, 0.003, (20, 3, 3)) * np.array(pbc)[:, None] * np.array(pbc)
    structures = given(x @ strains, CELLS[cell], pbc)
    structures.cells[:] = CELLS[cell] @ strains
    first = given(x, CELLS[cell], pbc)
    rows, columns = np.arange(8), np.arange(8, 20)
    found, still = closest(structures, rows, columns, 9.0), closest(first, rows, columns, 9.0)
    np.testing.assert_allclose(found, still, atol=0.06)
    assert (found > still).mean() > 0.5  # the strain counts
    alike = given([SCATTERED, SCATTERED * 1.001], np.array([CELLS[cell], CELLS[cell] * 1.001]))
    found = closest(alike, np.array([0]), np.array([1]))[0]
    assert found == pytest.approx(0.0024, abs=5e-4)  # a thousandth of atoms spread evenly over the cell
    assert near_duplicates(alike).tolist() == [0, 0]
    assert near_duplicates(alike, Nearness(found * 0.99)).tolist() == [0, 1]


def test_every_bound_is_below_its_distance_whatever_the_cells() -> None:
    from priorbench.datasets.distances import measure

    random = np.random.default_rng(7)
    strains = np.eye(3) + random.normal(0, 0.01, (40, 3, 3))
    structures = given(random.uniform(0, 8, (40, 12, 3)) * random.uniform(0.9, 1.1, (40, 1, 1)), CELLS["triclinic"])
    structures.cells[:] = CELLS["triclinic"] @ strains
    measured = measure(structures, np.arange(40), heavy=False)
    one, two = np.triu_indices(40, 1)
    points = measured.embedding().astype(float)
    bounds = np.linalg.norm(points[one] - points[two], axis=1)
    distances = measured.distances(one, two)
    assert (bounds <= distances * (1 + 1e-5)).all()
    assert (bounds > 0.3 * distances).all()


def test_groups_are_linked_singly_and_numbered_by_first_appearance() -> None:
    step = np.full(3, 0.018)  # twice this is no near-duplicate, but is linked through the one between
    other = np.random.default_rng(2).uniform(0, 8, (12, 3))
    chain = [other, SCATTERED, SCATTERED + 2 * step, other + 3, SCATTERED + step, other + step / 2]
    assert near_duplicates(given(chain)).tolist() == [0, 1, 1, 2, 1, 0]
    assert near_duplicates(given(chain)).dtype == np.int32
    del chain[4]
    assert near_duplicates(given(chain)).tolist() == [0, 1, 2, 3, 0]


@pytest.mark.parametrize("spread", [0.01, 0.07, 0.071, 0.3])
def test_many_structures_are_grouped_as_all_their_distances_say(spread: float) -> None:
    from scipy.sparse.csgraph import connected_components

    x = SCATTERED + np.random.default_rng(3).normal(0, spread, (300, 12, 3))
    apart = np.sqrt(((x[:, None] - x[None]) ** 2).mean((2, 3)))
    expected = connected_components(apart < 0.1)[1]
    np.testing.assert_array_equal(near_duplicates(given(x % 9), WATER), expected)
    limited = closest(given(x % 9), np.arange(50), np.arange(50, 300))
    np.testing.assert_allclose(limited, apart[:50, 50:].min(1), atol=1e-9)


@pytest.mark.parametrize("nearness", [Nearness(), WATER])
def test_the_threshold_is_a_root_mean_square_over_the_coordinates(nearness: Nearness) -> None:
    for displacement, groups in ((0.999, 1), (1.001, 2)):
        moved = SCATTERED + displacement * nearness.distance
        assert near_duplicates(given([SCATTERED, moved]), nearness).max() + 1 == groups
        slab = given([SCATTERED, moved], pbc=(True, True, False))
        assert near_duplicates(slab, nearness).max() + 1 == groups


def test_hydrogens_count_but_for_sources_that_say_otherwise() -> None:
    # Hydrogen anywhere over a frozen slab of copper was one group.
    numbers = [8, 1, 1] * 4
    hydrogens = np.array(numbers) == 1
    turned, moved = SCATTERED.copy(), SCATTERED.copy()
    turned[hydrogens] += 0.7
    moved[~hydrogens] += 0.7
    assert near_duplicates(given([SCATTERED, turned, moved], numbers=numbers), WATER).tolist() == [0, 0, 1]
    assert near_duplicates(given([SCATTERED, turned, moved], numbers=numbers)).tolist() == [0, 1, 2]
    assert near_duplicates(given([SCATTERED, turned], numbers=[1] * 12), WATER).tolist() == [0, 1]


@pytest.mark.parametrize("rattle", [0.04, 0.06])
def test_thermal_crystals_are_no_near_duplicates_of_each_other(rattle: float) -> None:
    # With 0.1 Å all frames of a crystal were one group, which no split can divide.
    sites = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3) * 3.0
    frames = sites + np.random.default_rng(8).normal(0, rattle, (30, 27, 3))
    crystals = given(frames)
    assert near_duplicates(crystals).tolist() == list(range(30))
    assert typical_distance(crystals, np.arange(30)) == pytest.approx(rattle * np.sqrt(2), rel=0.1)


def test_only_the_same_atoms_in_similar_cells_are_compared() -> None:
    four = [SCATTERED] * 4
    same = given(four)
    assert near_duplicates(same).tolist() == [0, 0, 0, 0]
    same.cells[1] += 1e-5 * np.eye(3)  # rounded otherwise
    same.cells[2] *= 1.05
    same.pbc[3, 2] = False
    assert near_duplicates(same).tolist() == [0, 0, 1, 2]
    other = given(four)
    other.atomic_numbers[12:14] = [1, 6]
    assert near_duplicates(other).tolist() == [0, 1, 0, 0]
    assert np.isnan(closest(other, np.array([1]), np.array([0, 2, 3]))).all()
    assert np.isnan(closest(other, np.array([0, 2]), np.array([], int))).all()
    assert typical_distance(other, np.array([0, 1])) == np.inf


def test_cells_are_similar_also_through_others() -> None:
    chain = given([SCATTERED] * 5)
    chain.cells[:] *= np.array([1, 1.1, 1.03, 1.015, 1.045])[:, None, None]
    from priorbench.datasets.distances import kinds

    assert np.unique(kinds(chain, np.arange(5)), return_inverse=True)[1].tolist() == [0, 1, 0, 0, 0]


def test_the_empty_direction_of_a_slab_is_not_compared() -> None:
    slabs = given([SCATTERED] * 2, pbc=(True, True, False))
    slabs.cells[1, 2] = 0
    assert near_duplicates(slabs).tolist() == [0, 0]


def test_molecules_may_turn_and_move() -> None:
    random = np.random.default_rng(4)
    turned = SCATTERED @ Rotation.random(rng=random).as_matrix() + [5, -30, 80]
    distorted = SCATTERED + random.normal(0, 0.2, SCATTERED.shape)
    molecules = given([SCATTERED, turned, distorted], pbc=(False, False, False))
    molecules.cells[:] = random.normal(size=(3, 3, 3))  # mean nothing
    assert near_duplicates(molecules).tolist() == [0, 0, 1]
    found = closest(molecules, np.array([0, 2]), np.array([1]))
    expected = np.sqrt(((pdist(SCATTERED) - pdist(distorted)) ** 2).mean())
    np.testing.assert_allclose(found, [0, expected], atol=1e-9)


def test_in_molecules_hydrogens_count_as_well() -> None:
    # Heavy atoms alone took any two conformers of ethanol for near-duplicates: three distances say little.
    bent = SCATTERED[:5].copy()
    bent[4] += 1.0
    free = (False, False, False)
    assert near_duplicates(given([SCATTERED[:5], bent], pbc=free, numbers=[6, 8, 6, 1, 1]), WATER).tolist() == [0, 1]
    assert near_duplicates(given([SCATTERED[:1], SCATTERED[1:2]], pbc=free)).tolist() == [0, 0]


def test_large_molecules_are_compared_by_the_same_part_of_their_distances_every_time() -> None:
    random = np.random.default_rng(5)
    x = random.uniform(0, 20, (100, 3))
    near, far = x + random.normal(0, 0.01, x.shape), x + random.normal(0, 0.3, x.shape)
    molecules = given([x, near, far], pbc=(False, False, False))
    assert near_duplicates(molecules).tolist() == [0, 0, 1]
    first, again = (closest(molecules, np.array([2]), np.array([0])) for _ in range(2))
    assert first == again == pytest.approx(np.sqrt(((pdist(x) - pdist(far)) ** 2).mean()), rel=0.1)


def test_the_same_structure_elsewhere_turned_or_in_another_order_is_one_group() -> None:
    # Copies with their atoms permuted, and crystals shifted as a whole, met in training and test.
    random = np.random.default_rng(9)
    forces = random.normal(size=(4, 12, 3))
    order = random.permutation(12)
    forces[2] = forces[0][order] @ Rotation.random(rng=random).as_matrix()
    numbers = np.tile(np.array([8, 1, 1] * 4, np.int16), (4, 1))
    numbers[2] = numbers[0][order]
    energies, offsets = np.array([-3.0, -3.0, -3.0 + 1e-5, -3.0]), np.arange(5) * 12
    own = np.arange(4, dtype=np.int32)

    def groups(**changes: np.ndarray) -> list[int]:
        arrays = {"energies": energies, "forces": forces, "atomic_numbers": numbers} | changes
        flat = {"forces": arrays["forces"].reshape(-1, 3), "atomic_numbers": arrays["atomic_numbers"].ravel()}
        return with_repeats(own, SimpleNamespace(**{**arrays, **flat}, offsets=offsets)).tolist()

    assert groups() == [0, 1, 0, 2]
    assert groups(energies=energies + np.array([0, 0, 1e-3, 0])) == [0, 1, 2, 3]
    assert groups(atomic_numbers=np.roll(numbers, 0) + (np.arange(4)[:, None] == 2)) == [0, 1, 2, 3]
    assert groups(forces=forces * 1e-5) == [0, 1, 2, 3]  # minima of equal energy may be different ones


def test_a_copy_is_found_among_many_and_after_rounding() -> None:
    # An unrelated structure between two copies hid them, and so did four decimals.
    random = np.random.default_rng(11)
    forces = random.normal(0, 1, (4000, 12, 3))
    forces /= np.sqrt((forces**2).sum((1, 2), keepdims=True) / 12)  # all of the same spread
    forces[2000:2100] = forces[:100, random.permutation(12)] @ Rotation.random(rng=random).as_matrix()
    energies = random.normal(size=4000)
    energies[2000:2100] = energies[:100]
    found = with_repeats(
        np.arange(4000, dtype=np.int32),
        SimpleNamespace(
            energies=energies.round(4),
            forces=forces.round(4).reshape(-1, 3),
            atomic_numbers=np.full(48_000, 8, np.int16),
            offsets=np.arange(4001) * 12,
        ),
    )
    assert found[2000:2100].tolist() == list(range(100))
    assert len(np.unique(found)) == 3900


def correlated(frames: int, time: float, atoms: int = 50, seed: int = 0) -> np.ndarray:
    """Forces (frames, atoms, 3) whose correlation falls as exp(−t/time)."""
    random = np.random.default_rng(seed)
    kept = np.exp(-1 / time)
    x = random.normal(size=(frames, atoms, 3))
    for t in range(1, frames):
        x[t] = kept * x[t - 1] + np.sqrt(1 - kept**2) * x[t]
    return x


def test_the_autocorrelation_time_is_when_a_tenth_is_left() -> None:
    assert autocorrelation_time(correlated(3000, 8.0)) == pytest.approx(8 * np.log(10), rel=0.1)
    assert autocorrelation_time(1e-3 * correlated(3000, 8.0)) == pytest.approx(8 * np.log(10), rel=0.1)
    assert autocorrelation_time(np.random.default_rng(0).normal(size=(500, 9, 3))) == pytest.approx(1, abs=0.15)


def test_the_autocorrelation_is_the_plain_sum_over_origins() -> None:
    forces = correlated(60, 4.0, atoms=7)
    moving = forces - forces.mean(0)
    plain = np.abs([(moving[: 60 - t] * moving[t:]).sum() / (60 - t) for t in range(30)])
    last = int(np.flatnonzero(plain >= 0.1 * plain[0])[-1])
    assert last <= autocorrelation_time(forces) <= last + 1


def test_vibrations_that_come_back_are_remembered_and_a_mean_force_is_not() -> None:
    # The first crossing of a tenth took the quarter of a period of a spring for the time that it remembers.
    time = np.arange(400)[:, None, None]
    random = np.random.default_rng(10)
    phase, period = random.uniform(0, 2 * np.pi, (1, 30, 3)), 20.0
    ringing = np.cos(2 * np.pi * time / period + phase) * np.exp(-time / 30.0)
    assert autocorrelation_time(ringing) > period
    constant = np.random.default_rng(0).normal(size=(500, 9, 3)) + np.arange(9)[None, :, None]
    assert autocorrelation_time(constant) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("forces", [np.ones((20, 3, 3)), np.zeros((20, 3, 3)), np.ones((1, 3, 3))])
def test_forces_that_never_decorrelate_are_capped_by_the_length(forces: np.ndarray) -> None:
    assert autocorrelation_time(forces) == len(forces)


def test_blocks_of_a_given_length_end_with_the_trajectory() -> None:
    sizes, numbers = [2] * 7 + [3] * 2 + [2] * 4, [8, 1] * 7 + [8, 1, 1] * 2 + [6, 1] * 4
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    forces = np.zeros((offsets[-1], 3))
    found = time_blocks(forces, offsets, np.array(numbers, np.int16), 3)
    assert found.tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3]
    assert found.dtype == np.int32
    with pytest.raises(PriorbenchError, match="blocks of 0 structures"):
        time_blocks(forces, offsets, np.array(numbers, np.int16), 0)


def test_trajectories_that_alternate_are_refused() -> None:
    # Two by two, every pair was a block of its own, and neighbouring frames met on two sides.
    numbers = np.concatenate([[8, 8], [6, 6, 6]] * 20).astype(np.int16)
    sizes = [1, 1, 1, 1, 1] * 20
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    forces = np.repeat(correlated(10, 20.0, atoms=1), 10, axis=0).reshape(-1, 3)
    for length in (None, 4):
        with pytest.raises(PriorbenchError, match=r"alternate: there are 20 stretches like that from structure 0 to 1"):
            time_blocks(forces, offsets, numbers, length)


def test_blocks_are_twice_as_long_as_forces_remember() -> None:
    slow, fast = correlated(1000, 10.0, atoms=20), correlated(1000, 2.0, atoms=20)
    forces = np.concatenate([slow.reshape(-1, 3), fast.reshape(-1, 3)])
    numbers = np.repeat(np.array([8, 6], np.int16), 20 * 1000)
    lengths = np.bincount(time_blocks(forces, np.arange(2001) * 20, numbers, None))
    assert lengths[0] == pytest.approx(2 * 10 * np.log(10), rel=0.2)
    assert lengths[-2] == pytest.approx(2 * 2 * np.log(10), rel=0.25)
    assert lengths.sum() == 2000
    assert len(time_blocks(forces[:0], np.zeros(1, int), numbers[:0], None)) == 0
