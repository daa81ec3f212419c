"""Flexible TIP3P water: labels of a classical force field for the structures of any set of intact water molecules.

Harmonic bonds and angles, Lennard-Jones between oxygens and fixed charges, as in the force field ``tip3p.xml`` of
OpenMM.  In a periodic cell charges are summed by particle-mesh Ewald; Lennard-Jones is switched off below the cutoff,
which is the same for cells of every size, and corrected for what lies beyond.  Structures that are not periodic have no
cutoff.  Energies are relative to molecules far apart, each at its equilibrium.
"""

from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priorbench.config import Strict
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.labels.boxes import box_of, made_whole

if TYPE_CHECKING:
    from priorbench.labels.real_space import EnergyAndForces
    from priorbench.labels.water import Water

WATER = (8, 1, 1)


class FlexibleTIP3POptions(Strict):
    """How the force field is evaluated."""

    cutoff: float = Field(9.0, ge=6, description="of Lennard-Jones and of the near part of the charges, Å")


class FlexibleTIP3P:
    """Labels of intact water molecules; see the module's docstring."""

    Options: ClassVar[type[Strict]] = FlexibleTIP3POptions

    def __init__(self, options: FlexibleTIP3POptions) -> None:
        self.options = options
        self._waters: dict[tuple[int, bool], Water] = {}

    def label(self, frames: Frames) -> Frames:
        """Frames with the energies and forces of flexible TIP3P; structures with other atoms are unlabelled."""
        orders = [water_order(frames, structure) for structure in range(len(frames))]
        unlabelled = [structure for structure, order in enumerate(orders) if order is None]
        _refuse(frames, unlabelled)
        energies, forces = np.zeros(len(frames)), np.zeros((len(frames.positions), 3))
        for structure, order in enumerate(orders):
            if order is not None:
                cell = frames.cells[structure] if frames.pbc[structure].all() else None
                energies[structure], forces[order] = self._labels(frames.positions[order], cell)
        metadata = {**frames.metadata, "unlabelled": unlabelled, "labelled_by": f"OpenMM {version('openmm')}"}
        return replace(frames, energies=energies, forces=forces, metadata=metadata)

    def _labels(self, positions: NDArray[np.float64], cell: NDArray[np.float64] | None) -> "EnergyAndForces":
        """Energy (eV) and forces (3n, 3) eV/Å of molecules O, H, H at ``positions`` (3n, 3) Å, in any image."""
        from ase import units

        water = self._water(len(positions) // 3, periodic=cell is not None)
        if cell is None:
            energy, forces = water.isolated(positions * 0.1)
        else:
            vectors, turn = box_of(cell)
            whole = made_whole((positions @ turn).reshape(-1, 3, 3), vectors).reshape(-1, 3)
            energy, turned = water.periodic(whole * 0.1, vectors * 0.1)
            forces = turned @ turn.T
        return energy * (units.kJ / units.mol), forces * (units.kJ / units.mol / units.nm)

    def _water(self, molecules: int, periodic: bool) -> "Water":
        from priorbench.labels.water import Water

        kind = molecules, periodic
        if kind not in self._waters:
            self._waters[kind] = Water(molecules, self.options.cutoff * 0.1 if periodic else None)
        return self._waters[kind]


def water_order(frames: Frames, structure: int) -> NDArray[np.int64] | None:
    """Places in the arrays of O, H, H of each molecule of ``structure``, (3n,); None if it has other atoms."""
    atoms = frames.atoms_of(structure)
    numbers, molecules = frames.atomic_numbers[atoms], frames.molecules[atoms]
    order = np.lexsort((-numbers, molecules))
    if len(order) % 3:
        return None
    same = (molecules[order].reshape(-1, 3) == np.arange(len(order) // 3)[:, None]).all()
    return atoms.start + order if same and (numbers[order].reshape(-1, 3) == WATER).all() else None


def _refuse(frames: Frames, unlabelled: list[int]) -> None:
    """Raise if no structure can be labelled, or if one that can be is periodic in some directions only."""
    if len(unlabelled) == len(frames):
        raise PriorbenchError(
            f"none of the {len(frames)} structures is made of intact water molecules alone (structure 0 is "
            f"{_formula(frames, 0)}), and flexible_tip3p describes nothing else; take a dataset of water"
        )
    partly = np.setdiff1d(np.flatnonzero(frames.pbc.any(axis=1) != frames.pbc.all(axis=1)), unlabelled)
    if len(partly):
        raise PriorbenchError(
            f"structure {int(partly[0])} is periodic in some directions only, and flexible_tip3p sums charges "
            "over all or none; make it periodic in all, with vacuum in its cell, or leave it out"
        )


def _formula(frames: Frames, structure: int) -> str:
    from ase.symbols import Symbols

    return str(Symbols(frames.atomic_numbers[frames.atoms_of(structure)]).get_chemical_formula())
