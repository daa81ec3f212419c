"""Which motion a force on a molecule would set off: what goes where, what adds up, and what must not matter."""

from dataclasses import replace

import numpy as np
import pytest

from priorbench.evaluation.parts import PARTS, Molecules, whole
from priorbench.frames import Frames
from tests.conftest import WATER, make_frames, one_structure, random_rotation

MASS = {1: 1.008, 6: 12.011, 8: 15.999}
BOX = np.eye(3) * 12


def measured(frames: Frames) -> Molecules:
    return Molecules.of(frames, np.arange(len(frames)))


def single(positions=WATER, numbers=(8, 1, 1)) -> tuple[Molecules, np.ndarray, np.ndarray]:
    """One molecule in a box, its masses (n, 1) and its places from the centre of mass (n, 3)."""
    masses = np.array([[MASS[z]] for z in numbers])
    arms = positions - (masses * positions).sum(0) / masses.sum()
    return measured(one_structure(np.asarray(positions) + 5, BOX, list(numbers))), masses, arms


def only(parts: dict[str, np.ndarray], name: str, force: np.ndarray) -> None:
    """Assert that the whole force is in the part of this name."""
    scale = np.abs(force).max()
    for part in PARTS:
        np.testing.assert_allclose(parts[part], force if part == name else 0, atol=1e-9 * scale)


def test_equal_accelerations_are_translation():
    molecules, masses, _ = single()
    force = masses * np.array([0.3, -2.0, 0.7])
    only(molecules.divide(force), "translation", force)


def test_a_rigid_turn_is_rotation():
    molecules, masses, arms = single()
    force = masses * np.cross([0.4, 1.0, -3.0], arms)
    only(molecules.divide(force), "rotation", force)


def test_a_stretch_is_internal():
    molecules, _, _ = single()
    bond = WATER[1] - WATER[0]
    force = np.array([-bond, bond, 0 * bond])
    only(molecules.divide(force), "internal", force)


def test_rotation_has_the_torque_and_translation_the_net_force():
    molecules, _, arms = single()
    force = np.random.default_rng(0).normal(size=(3, 3))
    parts = molecules.divide(force)
    np.testing.assert_allclose(parts["translation"].sum(0), force.sum(0), atol=1e-12)
    np.testing.assert_allclose(np.cross(arms, parts["rotation"]).sum(0), np.cross(arms, force).sum(0), atol=1e-9)
    for name in ("rotation", "internal"):
        np.testing.assert_allclose(parts[name].sum(0), 0, atol=1e-12)
    np.testing.assert_allclose(np.cross(arms, parts["internal"]).sum(0), 0, atol=1e-9)


def test_parts_add_up_and_so_do_their_squares_over_the_mass():
    frames = make_frames(3)
    molecules = measured(frames)
    parts = molecules.divide(frames.forces)
    np.testing.assert_allclose(sum(parts.values()), frames.forces[molecules.atoms], rtol=1e-12, atol=1e-12)
    masses = np.array([MASS[z] for z in frames.atomic_numbers])[:, None]
    squares = {name: np.bincount(molecules.owner, (part**2 / masses).sum(1)) for name, part in parts.items()}
    total = np.bincount(molecules.owner, (frames.forces**2 / masses).sum(1))
    np.testing.assert_allclose(sum(squares.values()), total, rtol=1e-9)
    shares = molecules.shares(parts)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["rotation"] == pytest.approx(squares["rotation"].sum() / total.sum())


def test_neither_wrapping_nor_shifting_changes_the_parts():
    kept, wrapped = (make_frames(2, wrapped=which) for which in (False, True))
    moved = replace(wrapped, positions=wrapped.positions + np.repeat([[13.0, -7.7, 0.4]], len(wrapped.positions), 0))
    assert np.abs(kept.positions - wrapped.positions).max() > 3
    expected = measured(kept).divide(kept.forces)
    for frames in (wrapped, moved):
        found = measured(frames).divide(kept.forces)
        for name in PARTS:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-9)


def test_parts_turn_with_the_structure():
    frames = make_frames(2, wrapped=True)
    turn = random_rotation(np.random.default_rng(5))
    turned = replace(frames, positions=frames.positions @ turn.T, cells=frames.cells @ turn.T)
    before, after = measured(frames).divide(frames.forces), measured(turned).divide(frames.forces @ turn.T)
    for name in PARTS:
        np.testing.assert_allclose(after[name], before[name] @ turn.T, atol=1e-9)


def test_a_linear_molecule_does_not_turn_about_its_axis():
    carbon_dioxide = np.array([[0, 0, 0], [1.16, 0, 0], [-1.16, 0, 0]])
    turn = random_rotation(np.random.default_rng(1))
    molecules, masses, arms = single(carbon_dioxide @ turn.T, (6, 8, 8))
    force = np.random.default_rng(0).normal(size=(3, 3))
    parts = molecules.divide(force)
    assert np.isfinite(parts["rotation"]).all()
    assert np.abs(parts["rotation"]).max() < 3
    np.testing.assert_allclose(parts["rotation"] @ (turn @ [1.0, 0, 0]), 0, atol=1e-9)
    rigid = masses * np.cross(turn @ [0, 1.0, 0], arms)
    only(molecules.divide(rigid), "rotation", rigid)
    bend = np.array([2.0, -1, -1])[:, None] * (turn @ [0, 1.0, 0])
    only(molecules.divide(bend), "internal", bend)


def test_a_molecule_that_is_linear_but_for_rounding_is_linear():
    """Divided by its tiny moment about the axis, a torque of rounding would become a force."""
    rng = np.random.default_rng(0)
    carbon_dioxide = np.array([[0, 0, 0], [1.16, 0, 0], [-1.16, 0, 0]]) + 1e-6 * rng.normal(size=(3, 3))
    molecules, masses, arms = single(carbon_dioxide, (6, 8, 8))
    turning = rng.normal(size=3) * [0, 1, 1]
    force = masses * np.cross(turning, arms)
    twist = np.array([[0.0, 0, 0], [0, 0, 1], [0, 0, 1]])
    assert np.abs(molecules.divide(twist)["rotation"]).max() < 1e-3
    np.testing.assert_allclose(molecules.divide(force)["rotation"], force, atol=1e-4)


@pytest.mark.parametrize("first", [0, 3, 5])
def test_a_chain_is_made_whole_along_its_bonds(first):
    """From any of its atoms; its ends are more than half a cell apart: the minimum image of the far end is wrong."""
    chain = np.zeros((6, 3))
    chain[:, 0] = 1.4 * np.arange(6)
    frames = one_structure((chain + 4) % 9.5, np.diag([9.5, 12, 12]), [6] * 6)
    found = whole(frames, np.array([0]), np.array([first]))
    np.testing.assert_allclose(found - found[0], chain, atol=1e-9)


def test_atoms_of_no_intact_molecule_are_left_out():
    hydroxide = WATER[:2] + 6.0
    frames = one_structure(np.concatenate([hydroxide, WATER + 1, [[9.0, 2, 2]]]), BOX, [8, 1, 8, 1, 1, 8])
    molecules = measured(frames)
    assert len(molecules) == 1
    assert molecules.atoms.tolist() == [2, 3, 4]
    assert {part.shape for part in molecules.divide(frames.forces).values()} == {(3, 3)}


def test_molecules_are_those_of_the_structures_taken():
    frames = make_frames(4)
    molecules = Molecules.of(frames, np.array([1, 3]))
    assert len(molecules) == 16
    assert molecules.atoms.tolist() == list(range(48))
    forces = np.concatenate([frames.forces[frames.atoms_of(s)] for s in (1, 3)])
    every = measured(frames).divide(frames.forces)["rotation"]
    np.testing.assert_allclose(
        molecules.divide(forces)["rotation"],
        np.concatenate([every[frames.atoms_of(s)] for s in (1, 3)]),
        atol=1e-12,
    )
