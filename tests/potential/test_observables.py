"""Distributions, diffusion and drift, on what they are known of."""

import numpy as np
import pytest

from priorbench.potential.observables import ANGLES, Distributions, diffusion, drift

YES, NO = np.ones(3, bool), np.zeros(3, bool)
EDGE = np.eye(3) * 12.0


def test_an_ideal_gas_has_no_structure():
    rng = np.random.default_rng(0)
    numbers = np.array([8] * 60 + [1] * 120)
    found = Distributions.like(numbers, EDGE, YES)
    for _ in range(60):
        found.add(rng.uniform(0, 12, (180, 3)), EDGE, YES)
    assert list(found.pairs) == ["O-O", "O-H", "H-H"]
    for pair in found.pairs:
        g = found.of(pair)[found.distances > 2]
        assert g.mean() == pytest.approx(1, abs=0.03), pair
        assert np.abs(g - 1).max() < 0.5, pair


def test_distances_in_a_molecule_have_a_density_of_one():
    positions = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0.0]])
    found = Distributions.like(np.array([8, 1, 1]), np.zeros((3, 3)), NO)
    found.add(positions, np.zeros((3, 3)), NO)
    width = found.reach / len(found.distances)
    for pair, distances in (("O-H", [1, 2]), ("H-H", [5**0.5])):
        h = found.of(pair)
        assert h.sum() * width == pytest.approx(1)
        assert np.allclose(np.sort(found.distances[h > 0]), distances, atol=width)


def test_distributions_reach_no_further_than_half_the_cell():
    cell = np.array([[10, 0, 0], [5, 8, 0], [0, 0, 9.0]])
    assert Distributions.like(np.array([8]), cell, YES).reach == pytest.approx(4)  # of widths 8.5, 8 and 9
    assert Distributions.like(np.array([8]), np.eye(3) * 30, YES).reach == 6.0


def test_angles_are_counted_between_neighbours_of_the_heaviest_element():
    positions = np.array([[0, 0, 0], [2.5, 0, 0], [0, 2.5, 0], [-2.5, 0, 0], [0.5, 0.5, 0.0]])
    found = Distributions.like(np.array([8, 8, 8, 8, 1]), np.zeros((3, 3)), NO)
    found.add(positions, np.zeros((3, 3)), NO)
    degrees = (np.flatnonzero(found.angles) + 0.5) * 180 / ANGLES
    assert {90, 180} <= {int(round(d / 90) * 90) for d in degrees}
    assert found.angle_density().sum() * 180 / ANGLES == pytest.approx(1)


def test_a_structure_differs_from_itself_by_nothing_and_from_another_by_something():
    rng = np.random.default_rng(1)
    numbers = np.array([8] * 20 + [1] * 40)
    one, other = (Distributions.like(numbers, EDGE, YES) for _ in range(2))
    positions = rng.uniform(0, 12, (60, 3))
    one.add(positions, EDGE, YES)
    other.add(rng.uniform(0, 12, (60, 3)), EDGE, YES)
    assert set(one.errors(one).values()) == {0.0}
    assert min(one.errors(other).values()) > 0.1
    moved = Distributions.like(numbers, EDGE, YES)
    moved.add(positions + 7.3, EDGE, YES)
    assert max(one.errors(moved).values()) < 0.05


def test_diffusion_of_a_random_walk_without_its_drift():
    rng = np.random.default_rng(2)
    times = np.arange(400) * 0.01
    steps = rng.normal(scale=np.sqrt(2 * 0.25 * 0.01), size=(400, 300, 3))
    walk = steps.cumsum(axis=0) + 5.0 * times[:, None, None]
    assert diffusion(walk, times) == pytest.approx(0.25, rel=0.1)


def test_drift_is_the_slope():
    times = np.linspace(0, 2, 50)
    slope, rest = drift(3 * times + 7 + 0.1 * (-1.0) ** np.arange(50), times)
    assert slope == pytest.approx(3, abs=0.05)
    assert rest == pytest.approx(0.1, rel=0.05)
