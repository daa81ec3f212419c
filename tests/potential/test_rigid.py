"""Constraints: distances stay as they are, and what is left moves as Newton says."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixBondLengths
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from priorbench.errors import PriorbenchError
from priorbench.potential.rigid import RigidDistances

WATER = np.array([[0, 0, 0], [0.9572, 0, 0], [-0.24, 0.927, 0]])
PAIRS = np.array([[0, 1], [0, 2], [1, 2]])


class Springs(Calculator):
    """Every atom on a spring to the origin, eV/Å²."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        r = self.atoms.positions
        self.results = {"energy": 0.25 * float((r**2).sum()), "forces": -0.5 * r}


def waters(count: int = 3) -> tuple[Atoms, np.ndarray]:
    rng = np.random.default_rng(0)
    positions = np.concatenate([WATER + rng.normal(scale=2, size=3) for _ in range(count)])
    pairs = np.concatenate([PAIRS + 3 * k for k in range(count)])
    return Atoms("OHH" * count, positions), pairs


def lengths(atoms: Atoms, pairs: np.ndarray) -> np.ndarray:
    return np.linalg.norm(atoms.positions[pairs[:, 1]] - atoms.positions[pairs[:, 0]], axis=1)


def moving() -> tuple[Atoms, np.ndarray]:
    atoms, pairs = waters()
    atoms.set_constraint(RigidDistances(pairs, lengths(atoms, pairs)))
    atoms.calc = Springs()
    thermalize_momenta(atoms, 300, rng=np.random.RandomState(0))
    return atoms, pairs


def test_rigid_molecules_keep_their_shape_and_the_energy():
    atoms, pairs = moving()
    before, energy = lengths(atoms, pairs), atoms.get_total_energy()
    VelocityVerlet(atoms, 0.25 * units.fs).run(100)
    np.testing.assert_allclose(lengths(atoms, pairs), before, rtol=1e-9)
    assert atoms.get_total_energy() == pytest.approx(energy, abs=1e-3)
    free, _ = moving()
    free.set_constraint()
    VelocityVerlet(free, 0.5 * units.fs).run(20)
    assert np.abs(lengths(free, pairs) - before).max() > 1e-3, "without constraints the shape changes"


def test_momenta_do_not_change_distances_and_momentum_is_kept():
    atoms, pairs = waters()
    constraint = RigidDistances(pairs, lengths(atoms, pairs))
    momenta = np.random.default_rng(1).normal(size=atoms.positions.shape)
    before = momenta.sum(axis=0)
    constraint.adjust_momenta(atoms, momenta)
    velocities = momenta / atoms.get_masses()[:, None]
    d = atoms.positions[pairs[:, 0]] - atoms.positions[pairs[:, 1]]
    closing = ((velocities[pairs[:, 0]] - velocities[pairs[:, 1]]) * d).sum(axis=1)
    np.testing.assert_allclose(closing, 0, atol=1e-9)
    np.testing.assert_allclose(momenta.sum(axis=0), before, atol=1e-12)


def test_the_same_as_the_constraint_of_ase():
    ours, pairs = waters(1)
    theirs = ours.copy()
    ours.set_constraint(RigidDistances(pairs, lengths(ours, pairs)))
    theirs.set_constraint(FixBondLengths(pairs, tolerance=1e-12))
    assert ours.get_number_of_degrees_of_freedom() == theirs.get_number_of_degrees_of_freedom() == 6
    new = ours.positions + np.random.default_rng(2).normal(scale=0.02, size=(3, 3))
    ours.set_positions(new.copy())
    theirs.set_positions(new.copy())
    np.testing.assert_allclose(ours.positions, theirs.positions, atol=1e-8)


@pytest.mark.parametrize("value", [np.nan, 50.0])
def test_what_cannot_be_kept_is_said(value):
    atoms, pairs = waters(1)
    constraint = RigidDistances(pairs, lengths(atoms, pairs))
    with pytest.raises(PriorbenchError, match="cannot be kept"), np.errstate(all="ignore"):
        constraint.adjust_positions(atoms, atoms.positions + value * np.eye(3))
