"""Water is found from geometry alone: order, wrapping and the shape of the cell do not matter."""

import numpy as np
import pytest

from priorbench.molecules import BOND, perceive_molecules

PERIODIC, ISOLATED = np.ones(3, bool), np.zeros(3, bool)
CUBE = np.eye(3) * 9.0
SKEWED = np.array([[9.0, 0.0, 0.0], [6.0, 8.0, 0.0], [-5.0, 6.0, 9.0]])
WATER = 0.9572 * np.array([[0, 0, 0], [0.7907, 0, 0.6122], [-0.7907, 0, 0.6122]])
NUMBERS = np.array([8, 1, 1])


def box_of_water(cell: np.ndarray, per_edge: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, numbers and true molecule of waters on a grid, some of them across the boundary."""
    grid = np.stack(np.meshgrid(*[np.arange(per_edge)] * 3, indexing="ij"), -1).reshape(-1, 3) / per_edge
    positions = (grid @ cell)[:, None] + WATER
    return positions.reshape(-1, 3), np.tile(NUMBERS, len(grid)), np.repeat(np.arange(len(grid)), 3)


@pytest.mark.parametrize("cell", [CUBE, SKEWED], ids=["cubic", "triclinic"])
@pytest.mark.parametrize("layout", ["whole", "wrapped", "unwrapped"])
def test_every_water_is_found_wherever_its_atoms_lie(cell: np.ndarray, layout: str) -> None:
    positions, numbers, expected = box_of_water(cell)
    if layout == "wrapped":
        positions = (positions @ np.linalg.inv(cell) % 1) @ cell
    if layout == "unwrapped":
        positions = positions + np.random.default_rng(0).integers(-3, 4, positions.shape) @ cell
    np.testing.assert_array_equal(perceive_molecules(positions, cell, PERIODIC, numbers), expected)


def test_any_order_of_atoms_gives_the_same_molecules_numbered_by_their_oxygens() -> None:
    positions, numbers, truth = box_of_water(CUBE)
    order = np.random.default_rng(1).permutation(len(numbers))
    found = perceive_molecules(positions[order], CUBE, PERIODIC, numbers[order])
    oxygens = numbers[order] == 8
    np.testing.assert_array_equal(found[oxygens], np.arange(8))
    np.testing.assert_array_equal(truth[order][oxygens][found], truth[order])


def test_without_periodicity_a_molecule_across_the_boundary_is_broken() -> None:
    split = WATER + np.array([8.5, 4.0, 4.0])
    split[1, 0] -= 9.0
    assert (perceive_molecules(split, CUBE, PERIODIC, NUMBERS) == 0).all()
    assert (perceive_molecules(split, CUBE, ISOLATED, NUMBERS) == -1).all()
    assert (perceive_molecules(WATER, np.zeros((3, 3)), ISOLATED, NUMBERS) == 0).all()


def test_a_stretched_molecule_is_not_intact_and_the_others_are_still_numbered_from_zero() -> None:
    positions, numbers, truth = box_of_water(CUBE)
    positions[1] = positions[0] + (positions[1] - positions[0]) * (BOND + 0.01) / 0.9572
    found = perceive_molecules(positions, CUBE, PERIODIC, numbers)
    assert (found[:3] == -1).all()
    np.testing.assert_array_equal(found[3:], truth[3:] - 1)


def test_a_shared_proton_breaks_both_molecules() -> None:
    """H5O2+: the middle hydrogen is bonded to both oxygens."""
    left, right = WATER * [1, 1, -1], WATER + np.array([0, 0, 2.4])
    positions, numbers = np.concatenate([left, right, [[0, 0, 1.15]]]), np.array([8, 1, 1, 8, 1, 1, 1])
    assert (perceive_molecules(positions, CUBE, PERIODIC, numbers) == -1).all()


def test_hydronium_hydroxide_and_other_elements_belong_to_no_molecule() -> None:
    hydronium = np.concatenate([WATER, [[0, 0.9, -0.3]]])
    hydroxide, carbon = WATER[:2] + 4.0, np.array([[4.0, 0, 4.0]])
    positions = np.concatenate([hydronium, hydroxide, carbon, WATER + np.array([0, 4.5, 0])])
    numbers = np.array([8, 1, 1, 1, 8, 1, 6, 8, 1, 1])
    found = perceive_molecules(positions, CUBE, PERIODIC, numbers)
    np.testing.assert_array_equal(found, [-1] * 7 + [0] * 3)


def test_no_atom_and_no_water_give_no_molecule() -> None:
    assert perceive_molecules(np.zeros((0, 3)), CUBE, PERIODIC, np.zeros(0, int)).shape == (0,)
    assert perceive_molecules(np.zeros((1, 3)), CUBE, PERIODIC, np.array([26])).tolist() == [-1]
