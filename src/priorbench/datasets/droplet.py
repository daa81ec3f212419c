"""Droplets of flexible TIP3P water in vacuum, generated with OpenMM: water with a surface, nothing periodic.

Each part is one droplet, started from a ball of a cubic grid with random orientations, minimised, equilibrated and
sampled by Langevin dynamics.  A wall, harmonic beyond ``wall`` radii of the ball that the molecules fill at the density
of the liquid, brings back those that evaporate; it acts on the dynamics and is not in the labels, which hold every
term of ``tip3p.xml`` without a cutoff.  Energies are relative to molecules far apart, each at its equilibrium.  Parts
hold OpenMM's units.
"""

from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from priorbench.config import Strict
from priorbench.datasets.archive import TEXT, read_npz, write_npz
from priorbench.datasets.base import Expected
from priorbench.datasets.tip3p import LEAST_EQUILIBRATION
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.tensors import Layout

if TYPE_CHECKING:
    from priorbench.datasets.blocks import Block

VOLUME = 29.9  # Å³ of a molecule in the liquid
STIFFNESS = 1000.0  # kJ/mol/nm² of the wall
TEMPERATURE_SLACK = 0.1  # of the mean over a droplet's frames, beside four standard errors
ARRAYS: Layout = {
    "positions": ("f", ("F", "n", 3)),
    "forces": ("f", ("F", "n", 3)),
    "energies": ("f", ("F",)),
    "temperatures": ("f", ("F",)),
    "openmm": TEXT,
}


class DropletOptions(Strict):
    """What is simulated."""

    molecules: int = Field(32, ge=2, description="water molecules in a droplet")
    droplets: int = Field(10, ge=1, description="independent droplets; each is one group of the split")
    frames: int = Field(40, ge=1, description="frames kept of each droplet")
    interval_ps: float = Field(0.5, gt=0, description="time between two frames, ps")
    timestep: float = Field(0.5, gt=0, le=1, description="time step, fs")
    temperature: float = Field(250.0, gt=0, description="temperature of the Langevin thermostat, K")
    equilibration_ps: float = Field(
        20.0, ge=0, description="dynamics discarded before the first frame, ps; at least 20 unless smoke says otherwise"
    )
    smoke: bool = Field(False, description="accept less than 20 ps of equilibration: a test of the machinery")
    wall: float = Field(
        1.5, gt=1, description="where oxygens are turned back, in radii of a ball of liquid of so many molecules"
    )
    seed: int = Field(0, ge=0, description="seed from which every droplet derives its own")

    @property
    def radius(self) -> float:
        """Of a ball of liquid of so many molecules, Å."""
        return float((3 * VOLUME * self.molecules / (4 * np.pi)) ** (1 / 3))

    @property
    def degrees_of_freedom(self) -> int:
        """Of all atoms together."""
        return 9 * self.molecules

    @model_validator(mode="after")
    def _equilibrates(self) -> Self:
        if self.equilibration_ps < LEAST_EQUILIBRATION and not self.smoke:
            raise ValueError(
                f"equilibration_ps: {self.equilibration_ps:g} ps do not equilibrate a droplet; take at least "
                f"{LEAST_EQUILIBRATION:g}, or smoke: true for a test of the machinery"
            )
        return self


class Droplet:
    """Source of droplets; see the module's docstring."""

    Options: ClassVar[type[Strict]] = DropletOptions

    def __init__(self, options: DropletOptions) -> None:
        self.options = options

    def parts(self) -> list[str]:
        """One part per droplet."""
        return [f"droplet{index}" for index in range(self.options.droplets)]

    def expected(self) -> list[Expected]:
        """The frames of all droplets."""
        o = self.options
        return [Expected(o.droplets * o.frames, 3 * o.molecules, groups=o.droplets, periodic=False)]

    def options_of(self, part: str) -> Strict:
        """No further droplets."""
        return self.options.model_copy(update={"droplets": self.parts().index(part) + 1})

    def acquire(self, part: str, mirror: Path | None, output: Path) -> None:
        """Simulate ``part`` on one thread and write it to ``output``; there is nothing to download."""
        import openmm

        try:
            arrays = _simulate(self.options, self.parts().index(part))
        except openmm.OpenMMException as error:
            raise PriorbenchError(f"{part}: OpenMM stopped ({error}); lower timestep or temperature") from None
        _check(part, arrays, self.options)
        write_npz(output, **arrays, openmm=np.array(version("openmm")))

    def convert(self, parts: dict[str, Path]) -> Frames:
        """Frames of all droplets, one group each."""
        from priorbench.datasets.blocks import assemble

        content = {part: read_npz(path, ARRAYS) for part, path in parts.items()}
        blocks = [self._block(part, arrays) for part, arrays in content.items()]
        return assemble(blocks, self._metadata(content), plausible=False)  # the units are OpenMM's

    def _block(self, part: str, arrays: dict[str, NDArray[Any]]) -> "Block":
        from ase import units

        from priorbench.datasets.blocks import rectangular

        energy, length = units.kJ / units.mol, units.nm
        count = len(arrays["energies"])
        return rectangular(
            positions=arrays["positions"] * length,
            forces=arrays["forces"] * (energy / length),
            energies=arrays["energies"] * energy,
            cells=np.zeros((count, 3, 3)),
            atomic_numbers=np.array([8, 1, 1] * self.options.molecules, np.int16),
            groups=np.zeros(count, np.int32),
            pbc=(False, False, False),
            where=f"droplet {part}",
        )

    def _metadata(self, content: dict[str, dict[str, NDArray[Any]]]) -> dict[str, Any]:
        from priorbench.datasets.groups import WATER

        return {
            "source": "droplet",
            "description": f"droplets of {self.options.molecules} flexible TIP3P water in vacuum, Langevin dynamics",
            "licence": "none needed: generated here",
            "citation": "TIP3P: 10.1063/1.445869; OpenMM: 10.1021/acs.jpcb.3c06662",
            "nearness": asdict(WATER),
            "units": {"in": "nm, kJ/mol, kJ/mol/nm", "out": "Å, eV, eV/Å"},
            "subsystems": ["droplet"],
            "openmm": sorted({str(arrays["openmm"]) for arrays in content.values()}),
            "temperatures_K": {part: float(arrays["temperatures"].mean()) for part, arrays in content.items()},
        }


def _simulate(options: DropletOptions, index: int) -> dict[str, NDArray[Any]]:
    """Positions and forces (F, 3n, 3) nm, kJ/mol/nm, energies (F,) kJ/mol and temperatures (F,) K of one droplet."""
    from priorbench.datasets.tip3p_simulation import frames_of, langevin, temperatures

    start, seed = partial(_start, options), (options.seed, index)
    context, integrator = langevin(_system(options), start, options.temperature, options.timestep, seed)
    integrator.step(round(options.equilibration_ps * 1e3 / options.timestep))
    states = []
    for _ in range(options.frames):
        integrator.step(max(1, round(options.interval_ps * 1e3 / options.timestep)))
        states.append(context.getState(positions=True, forces=True, energy=True, groups={0}))  # without the wall
    return {**frames_of(states), "temperatures": temperatures(states, options.degrees_of_freedom)}


def _system(options: DropletOptions) -> Any:
    """Flexible water that is not periodic in group 0 of forces, the wall in group 1."""
    import openmm

    from priorbench.labels.water import flexible_water

    system = flexible_water(options.molecules, periodic=False)
    wall = openmm.CustomExternalForce("k*max(0, sqrt(x^2+y^2+z^2)-r0)^2/2")
    wall.addGlobalParameter("k", STIFFNESS)
    wall.addGlobalParameter("r0", options.wall * options.radius * 0.1)
    wall.setForceGroup(1)
    for molecule in range(options.molecules):
        wall.addParticle(3 * molecule, [])
    system.addForce(wall)
    return system


def _start(options: DropletOptions, random: np.random.Generator) -> NDArray[np.float64]:
    """Molecules at the sites of a cubic grid that are nearest to the origin, randomly turned: (3n, 3) Å, O, H, H."""
    from priorbench.datasets.tip3p_simulation import turned_at

    reach = int(np.ceil(options.molecules ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    nearest = np.argsort((grid**2).sum(axis=1), kind="stable")[: options.molecules]
    return turned_at(grid[nearest] * VOLUME ** (1 / 3), random)


def _check(part: str, arrays: dict[str, NDArray[Any]], options: DropletOptions) -> None:
    """Refuse a droplet with a number that is not finite or a mean temperature far from the thermostat's."""
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise PriorbenchError(f"{part}: positions, forces or energies are not all finite; lower timestep")
    mean, one = arrays["temperatures"].mean(), options.temperature * np.sqrt(2 / options.degrees_of_freedom)
    slack = TEMPERATURE_SLACK * options.temperature + 4 * one / np.sqrt(len(arrays["temperatures"]))
    if not options.smoke and abs(mean - options.temperature) > slack:
        raise PriorbenchError(
            f"{part}: mean temperature {mean:.1f} K is not within {slack:.1f} K of {options.temperature:g} K; raise "
            "equilibration_ps, lower timestep or take another seed"
        )
