"""TIP3P water, generated with OpenMM: the recipe of the paper's classical set, equilibrated (arXiv 2112.03383).

One part is one trajectory: its own seed, random places and orientations, minimisation, equilibration, then one frame
every ``interval_steps`` steps of Langevin dynamics at constant volume.  Parts hold OpenMM's units (nm, kJ/mol,
kJ/mol/nm) and positions that are not wrapped into the box.

A trajectory that did not equilibrate is refused (:mod:`priorbench.datasets.tip3p_checks`).

The labels of rigid water (the paper's) leave out the constraint forces: they hold Coulomb and Lennard-Jones forces
between molecules and nothing within them, so a model trained on them needs rigid molecules in dynamics.  Flexible water
has the harmonic bonds and angles of the same force field, and they are in its labels.  The same options and part give
the same bytes on the same kind of processor (one thread, deterministic forces).
"""

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from priorbench.config import Strict
from priorbench.datasets.archive import TEXT, read_npz, write_npz
from priorbench.datasets.base import Expected
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.tensors import Layout

MOLAR_MASS = 18.01528  # g/mol
AVOGADRO = 0.602214076  # molecules per Å³ of 1 mol/cm³
LARGEST_CUTOFF = 10.0  # Å, the paper's
LEAST_EQUILIBRATION = 20.0  # ps
ARRAYS: Layout = {
    "positions": ("f", ("F", "n", 3)),
    "forces": ("f", ("F", "n", 3)),
    "energies": ("f", ("F",)),
    "box": ("f", ()),
    "temperatures": ("f", ("F",)),
    "equilibration_energies": ("f", ("E",)),
    "equilibration_temperatures": ("f", ("E",)),
}


class TIP3POptions(Strict):
    """What is simulated."""

    variant: Literal["rigid", "flexible"] = Field(
        "rigid", description="rigid molecules as in the paper, or harmonic bonds and angles (time step at most 1 fs)"
    )
    molecules: int = Field(64, ge=1, description="water molecules in the cubic box")
    trajectories: int = Field(10, ge=1, description="independent trajectories; each is one group of the split")
    frames: int = Field(40, ge=1, description="frames kept of each trajectory")
    interval_steps: int = Field(50, ge=1, description="time steps between two frames")
    timestep: float = Field(2.0, gt=0, le=4, description="time step, fs; 0.5 for flexible molecules")
    temperature: float = Field(300.0, gt=0, description="temperature of the Langevin thermostat, K")
    equilibration_ps: float = Field(
        20.0, ge=0, description="dynamics discarded before the first frame, ps; at least 20 unless smoke says otherwise"
    )
    smoke: bool = Field(
        False, description="accept less than 20 ps of equilibration: a test of the machinery, which the card says"
    )
    density: float = Field(
        0.9647,
        gt=0,
        le=1.5,
        description="density that sets the box, g/cm³; the default is the paper's 258 per 2 nm cube",
    )
    cutoff: float | None = Field(
        None, gt=0, description="real-space cutoff, Å, at most half the box; null: half the box, but at most 10"
    )
    switch: float = Field(
        1.5, ge=0, description="width over which Lennard-Jones is switched off below the cutoff, Å; 0: cut off sharply"
    )
    ewald_tolerance: float = Field(1e-5, gt=0, lt=1, description="relative error of the Ewald forces")
    groups: Literal["trajectory", "blocks"] = Field(
        "trajectory", description="what stays together in a split: trajectories, or blocks longer than forces remember"
    )
    seed: int = Field(0, ge=0, description="seed from which every trajectory derives its own")

    @property
    def box(self) -> float:
        """Edge of the cubic box, Å."""
        return float((self.molecules * MOLAR_MASS / (AVOGADRO * self.density)) ** (1 / 3))

    @property
    def degrees_of_freedom(self) -> int:
        """Of one molecule."""
        return 6 if self.variant == "rigid" else 9

    @property
    def real_space_cutoff(self) -> float:
        """The cutoff in use, Å."""
        return min(LARGEST_CUTOFF, self.box / 2) if self.cutoff is None else self.cutoff

    @model_validator(mode="after")
    def _resolves_vibrations(self) -> Self:
        if self.variant == "flexible" and self.timestep > 1:
            raise ValueError(f"timestep: {self.timestep:g} fs is too long for flexible molecules; take 0.5, at most 1")
        return self

    @model_validator(mode="after")
    def _equilibrates(self) -> Self:
        if self.equilibration_ps < LEAST_EQUILIBRATION and not self.smoke:
            raise ValueError(
                f"equilibration_ps: {self.equilibration_ps:g} ps do not equilibrate water; take at least "
                f"{LEAST_EQUILIBRATION:g}, or smoke: true for a test of the machinery"
            )
        return self

    @model_validator(mode="after")
    def _fits_the_box(self) -> Self:
        if self.real_space_cutoff > self.box / 2:
            raise ValueError(
                f"cutoff: {self.cutoff:g} Å is more than half the box, {self.box / 2:.3f} Å for {self.molecules} "
                f"molecules at {self.density:g} g/cm³; lower it, set null, or take more molecules"
            )
        if self.switch >= self.real_space_cutoff:
            raise ValueError(f"switch: {self.switch:g} Å is not less than the cutoff, {self.real_space_cutoff:.3f} Å")
        return self


class TIP3P:
    """Source of rigid-water frames; see the module's docstring."""

    Options: ClassVar[type[Strict]] = TIP3POptions

    def __init__(self, options: TIP3POptions) -> None:
        self.options = options

    def parts(self) -> list[str]:
        """One part per trajectory."""
        return [f"trajectory{index}" for index in range(self.options.trajectories)]

    def expected(self) -> list[Expected]:
        """The frames of all trajectories; blocks within them are known only when they are there."""
        o = self.options
        groups = o.trajectories if o.groups == "trajectory" else None
        return [Expected(o.trajectories * o.frames, 3 * o.molecules, groups=groups)]

    def options_of(self, part: str) -> Strict:
        """Neither further trajectories nor what is made of them later."""
        number = self.parts().index(part) + 1
        return self.options.model_copy(update={"trajectories": number, "groups": "trajectory"})

    def acquire(self, part: str, mirror: Path | None, output: Path) -> None:
        """Simulate ``part`` on one thread and write it to ``output``; there is nothing to download."""
        from priorbench.datasets.tip3p_simulation import simulate

        arrays = simulate(self.options, self.parts().index(part))
        write_npz(output, **arrays, openmm=np.array(version("openmm")))

    def convert(self, parts: dict[str, Path]) -> Frames:
        """Frames of all trajectories, one group each."""
        from ase import units

        from priorbench.datasets.blocks import assemble, rectangular
        from priorbench.datasets.tip3p_checks import check_together
        from priorbench.datasets.validity import check_block

        energy, length = units.kJ / units.mol, units.nm
        water = np.array([8, 1, 1] * self.options.molecules, np.int16)
        content = {part: read_npz(path, {**self._layout(), "openmm": TEXT}) for part, path in parts.items()}
        for part, arrays in content.items():
            if not np.isclose(arrays["box"], self.options.box * 0.1, rtol=1e-6):
                raise PriorbenchError(f"tip3p {part}: its box is not that of the options; delete it and run again")
        check_together(list(content.values()), self.options)
        blocks = [
            rectangular(
                positions=arrays["positions"] * length,
                forces=arrays["forces"] * (energy / length),
                energies=arrays["energies"] * energy,
                cells=np.tile(np.eye(3) * (arrays["box"] * length), (len(arrays["energies"]), 1, 1)),
                atomic_numbers=water,
                groups=self._groups(arrays["forces"]),
                where=f"tip3p {part}",
            )
            for part, arrays in content.items()
        ]
        for block in blocks:  # what is told of them is computed of sound ones only
            check_block(block)
        return assemble(blocks, self._metadata(content), plausible=False)  # the units are OpenMM's

    def draw_checks(self, parts: dict[str, Path], stem: Path) -> None:
        """Draw temperature, potential energy and structure of every trajectory to ``stem``.{pdf,png}."""
        from priorbench.datasets.tip3p_checks import draw

        draw({part: read_npz(path, self._layout()) for part, path in parts.items()}, self.options, stem)

    def _layout(self) -> Layout:
        """Of a part: water of these options, one frame at least."""
        atoms = 3 * self.options.molecules
        return {name: (kind, tuple(atoms if n == "n" else n for n in shape)) for name, (kind, shape) in ARRAYS.items()}

    def _groups(self, forces: NDArray[np.float64]) -> NDArray[np.int32]:
        from priorbench.datasets.groups import time_blocks

        frames, atoms = forces.shape[:2]
        if self.options.groups == "trajectory":
            return np.zeros(frames, np.int32)
        offsets = np.arange(frames + 1) * atoms
        return time_blocks(forces.reshape(-1, 3), offsets, np.full(frames * atoms, 8, np.int16), None)

    def _metadata(self, content: dict[str, dict[str, NDArray[Any]]]) -> dict[str, Any]:
        from priorbench.datasets.groups import WATER
        from priorbench.datasets.tip3p_checks import summary

        return {
            "source": "tip3p",
            "description": f"{self.options.variant} TIP3P water, PME, Langevin dynamics at constant volume"
            + ("; no constraint forces" if self.options.variant == "rigid" else ""),
            "licence": "none needed: generated here",
            "citation": "recipe: arXiv 2112.03383; TIP3P: 10.1063/1.445869; OpenMM: 10.1021/acs.jpcb.3c06662",
            "nearness": asdict(WATER),
            "units": {"in": "nm, kJ/mol, kJ/mol/nm", "out": "Å, eV, eV/Å"},
            "subsystems": ["tip3p"],
            "openmm": sorted({str(arrays["openmm"]) for arrays in content.values()}),
            "trajectories": {part: summary(arrays, self.options) for part, arrays in content.items()},
        }
