"""The simulation behind :mod:`priorbench.datasets.tip3p`, in OpenMM's units: nm, kJ/mol, kJ/mol/nm, K."""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from priorbench.datasets.tip3p_checks import GAS_CONSTANT, RECORDED, check
from priorbench.errors import PriorbenchError

if TYPE_CHECKING:
    from priorbench.datasets.tip3p import TIP3POptions

BOND_LENGTH = 0.9572  # Å
ANGLE = 104.52  # degrees
FRICTION = 1.0  # 1/ps


def simulate(options: "TIP3POptions", index: int) -> dict[str, NDArray[Any]]:
    """Run trajectory ``index``: positions and forces (F, 3n, 3) nm, kJ/mol/nm, energies (F,) kJ/mol, box nm, K (F,).

    Energies and temperatures of the equilibration, every ``RECORDED`` ps, come with it.
    """
    import openmm

    try:
        arrays = _run(options, index)
    except openmm.OpenMMException as error:
        raise PriorbenchError(
            f"tip3p trajectory{index}: OpenMM stopped ({error}); lower timestep or density, or equilibrate longer"
        ) from None
    check(index, arrays, options)
    return arrays


def start_positions(options: "TIP3POptions", random: np.random.Generator) -> NDArray[np.float64]:
    """Molecules at random sites of a cubic grid, randomly turned: (3n, 3) Å, O, H, H."""
    per_edge = math.ceil(options.molecules ** (1 / 3) - 1e-9)
    grid = np.stack(np.meshgrid(*[np.arange(per_edge)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    sites = (random.permutation(grid)[: options.molecules] + 0.5) * (options.box / per_edge)
    return turned_at(sites, random)


def turned_at(sites: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """A molecule, randomly turned, with its oxygen at each of the ``sites`` (n, 3) Å: (3n, 3) Å, O, H, H."""
    from scipy.spatial.transform import Rotation

    half = math.radians(ANGLE / 2)
    arms = [[sign * math.sin(half), 0.0, math.cos(half)] for sign in (1, -1)]
    molecule = BOND_LENGTH * np.array([[0.0, 0.0, 0.0], *arms])
    turns = Rotation.random(len(sites), rng=random).as_matrix()
    positions: NDArray[np.float64] = sites[:, None, :] + np.einsum("mij,aj->mai", turns, molecule)
    return positions.reshape(-1, 3)


def water_topology(molecules: int) -> Any:
    """The topology of so many water molecules, atoms in the order O, H, H."""
    from openmm import app

    topology = app.Topology()
    chain = topology.addChain()
    oxygen, hydrogen = app.Element.getBySymbol("O"), app.Element.getBySymbol("H")
    for _ in range(molecules):
        residue = topology.addResidue("HOH", chain)
        centre = topology.addAtom("O", oxygen, residue)
        for name in ("H1", "H2"):
            topology.addBond(centre, topology.addAtom(name, hydrogen, residue))
    return topology


def begun(options: "TIP3POptions", index: int) -> tuple[Any, Any]:
    """Context and integrator of trajectory ``index``, its energy minimised, with velocities of its temperature."""
    start = partial(start_positions, options)
    return langevin(_system(options), start, options.temperature, options.timestep, (options.seed, index))


def langevin(
    system: Any,
    start: Callable[[np.random.Generator], NDArray[np.float64]],
    temperature: float,
    timestep: float,
    seed: tuple[int, int],
) -> tuple[Any, Any]:
    """Context and integrator of a ``system`` at ``temperature`` (K) with steps of ``timestep`` (fs).

    From positions (n, 3) Å that ``start`` draws; energy minimised, velocities drawn.  On one thread, and all by
    ``seed``: the same bytes on the same kind of processor.
    """
    import openmm

    place, thermostat, velocities = (
        int(word) % (2**31 - 2) + 1  # OpenMM takes 0 for "draw a seed by the clock"
        for word in np.random.SeedSequence(seed).generate_state(3)
    )
    integrator = openmm.LangevinMiddleIntegrator(temperature, FRICTION, timestep * 1e-3)
    integrator.setRandomNumberSeed(thermostat)
    properties = {"Threads": "1", "DeterministicForces": "true"}
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(system, integrator, platform, properties)
    context.setPositions(start(np.random.default_rng(place)) * 0.1)
    openmm.LocalEnergyMinimizer.minimize(context, 10.0, 200)
    context.setVelocitiesToTemperature(temperature, velocities)
    return context, integrator


def _run(options: "TIP3POptions", index: int) -> dict[str, NDArray[Any]]:
    context, integrator = begun(options, index)
    before = []
    steps = round(options.equilibration_ps * 1e3 / options.timestep)
    chunk = max(1, round(RECORDED * 1e3 / options.timestep))
    for done in range(0, steps, chunk):
        integrator.step(min(chunk, steps - done))
        before.append(context.getState(energy=True))
    states = []
    for _ in range(options.frames):
        integrator.step(options.interval_steps)
        states.append(context.getState(positions=True, forces=True, energy=True))
    return {
        **frames_of(states),
        "box": np.array(options.box * 0.1),
        "temperatures": temperatures(states, options.degrees_of_freedom * options.molecules),
        "equilibration_energies": _energies(before),
        "equilibration_temperatures": temperatures(before, options.degrees_of_freedom * options.molecules),
    }


def frames_of(states: list[Any]) -> dict[str, NDArray[np.float64]]:
    """Positions and forces (F, n, 3), and potential energies (F,), of OpenMM's states."""
    return {
        "positions": np.array([state.getPositions(asNumpy=True)._value for state in states]),
        "forces": np.array([state.getForces(asNumpy=True)._value for state in states]),
        "energies": _energies(states),
    }


def _energies(states: list[Any]) -> NDArray[np.float64]:
    return np.array([state.getPotentialEnergy()._value for state in states], np.float64)


def temperatures(states: list[Any], degrees_of_freedom: int) -> NDArray[np.float64]:
    """By the kinetic energies of OpenMM's states, (F,) K."""
    kinetic = np.array([state.getKineticEnergy()._value for state in states], np.float64)
    return kinetic / (degrees_of_freedom / 2 * GAS_CONSTANT)


def _system(options: "TIP3POptions") -> Any:
    from openmm import app

    topology = water_topology(options.molecules)
    topology.setPeriodicBoxVectors(np.eye(3) * options.box * 0.1)
    cutoff = options.real_space_cutoff * 0.1
    return app.ForceField("tip3p.xml").createSystem(
        topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=cutoff,
        switchDistance=cutoff - options.switch * 0.1 if options.switch > 0 else None,
        ewaldErrorTolerance=options.ewald_tolerance,
        rigidWater=options.variant == "rigid",
        removeCMMotion=False,  # the Langevin thermostat keeps all degrees of freedom
    )
