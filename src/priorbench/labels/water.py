"""The force field behind :mod:`priorbench.labels.flexible_tip3p`, in OpenMM's units: nm, kJ/mol, kJ/mol/nm."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorbench.datasets.tip3p_simulation import water_topology
from priorbench.labels.real_space import EnergyAndForces, RealSpace

EWALD_TOLERANCE = 1e-5  # relative error of the Ewald forces


class Water:
    """So many flexible TIP3P molecules, atoms in the order O, H, H, in one context that is used again and again.

    OpenMM has the terms within molecules, all terms of molecules that are not periodic, and in a periodic box the
    far part of the charges; the near part is :class:`RealSpace`.  All is in double precision on one thread: the same
    structure has the same labels wherever it stands in a file.
    """

    def __init__(self, molecules: int, cutoff: float | None) -> None:
        """``cutoff`` (nm) of periodic boxes; None: molecules that are not periodic."""
        import openmm

        self._system = flexible_water(molecules, periodic=cutoff is not None)
        forces = self._system.getForces()
        self._nonbonded = next(force for force in forces if isinstance(force, openmm.NonbondedForce))
        self._near = None if cutoff is None else self._real_space(cutoff)
        platform = openmm.Platform.getPlatformByName("Reference")
        self._context = openmm.Context(self._system, openmm.VerletIntegrator(0.001), platform)
        self._vectors = np.zeros((3, 3))

    def isolated(self, positions: NDArray[np.float64]) -> EnergyAndForces:
        """Energy and forces of molecules at ``positions`` (3n, 3) that nothing surrounds."""
        self._context.setPositions(positions)
        state = self._context.getState(energy=True, forces=True)
        return float(state.getPotentialEnergy()._value), np.asarray(state.getForces(asNumpy=True)._value)

    def periodic(self, positions: NDArray[np.float64], vectors: NDArray[np.float64]) -> EnergyAndForces:
        """Energy and forces of whole molecules at ``positions`` (3n, 3) in the reduced box ``vectors`` (3, 3), rows."""
        assert self._near is not None
        self._set_box(vectors)
        energy, forces = self.isolated(positions)
        near, near_forces = self._near.evaluate(positions, vectors)
        return energy + near, forces + near_forces

    def _real_space(self, cutoff: float) -> RealSpace:
        parameters = [self._nonbonded.getParticleParameters(atom) for atom in range(3)]
        charges = np.array([charge._value for charge, _, _ in parameters])
        _, sigma, epsilon = parameters[0]
        screening = float(np.sqrt(-np.log(2 * EWALD_TOLERANCE)) / cutoff)
        return RealSpace(charges, sigma._value, epsilon._value, cutoff, screening)

    def _set_box(self, vectors: NDArray[np.float64]) -> None:
        """Take another box; the mesh is chosen anew, because a context would keep that of its first."""
        assert self._near is not None
        if np.array_equal(vectors, self._vectors):
            return
        # As OpenMM chooses screening and mesh.
        mesh = np.ceil(2 * self._near.screening * np.diag(vectors) / (3 * EWALD_TOLERANCE**0.2))
        self._nonbonded.setPMEParameters(self._near.screening, *(max(6, int(points)) for points in mesh))
        self._system.setDefaultPeriodicBoxVectors(*vectors)
        self._context.reinitialize()
        self._vectors = vectors


def flexible_water(molecules: int, periodic: bool) -> Any:
    """The OpenMM system; a periodic one has only the far part of the charges and awaits its box."""
    import openmm
    from openmm import app

    topology = water_topology(molecules)
    topology.setPeriodicBoxVectors(np.eye(3))
    system = app.ForceField("tip3p.xml").createSystem(
        topology,
        nonbondedMethod=app.PME if periodic else app.NoCutoff,
        nonbondedCutoff=0.1,  # of the near part alone
        rigidWater=False,
        removeCMMotion=False,
    )
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            force.setIncludeDirectSpace(not periodic)
    return system
