"""Does a potential do physics?  Molecular dynamics from a test structure, held against the data and against itself.

NVE shows whether the energy is conserved, NVT until the end or until it breaks shows for how long the potential can be
trusted, and what distributions it has then ("Forces are not enough", arXiv 2210.07237).  Molecules that are rigid in
the training data stay rigid, by constraints.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, force_temperature, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray
from pydantic import ValidationError

from priorbench.analysis.chosen import Trial, load_chosen
from priorbench.config import first_line
from priorbench.config_sections import Dynamics
from priorbench.errors import PriorbenchError
from priorbench.evaluation.parts import whole
from priorbench.frames import Frames
from priorbench.io import write_json
from priorbench.potential.calculator import PotentialCalculator, load_potential
from priorbench.potential.observables import Distributions, diffusion, drift
from priorbench.potential.rigid import RigidDistances
from priorbench.splits import draw, load_split
from priorbench.training.model import load_model
from priorbench.training.process import prepare_torch

Floats = NDArray[np.float64]
SAMPLE_FS = 10.0  # between structures that are looked at
STRETCH = 0.5  # Å, by which a bond may differ from its length at the start (arXiv 2210.07237, section 4)
HOT = 3.0  # times the thermostat's temperature
CLOSE = 0.6  # of the closest approach in training
EQUILIBRATION = 0.2  # of the NVT run, not counted in distributions
SHORTEST = 2.0  # ps of NVT that a diffusion coefficient takes
REFERENCE = 500  # structures of the data at most
_DRAW = 6  # stream of random numbers


@dataclass
class Watch:
    """Looks at a trajectory as it goes on, and says what broke."""

    atoms: Atoms
    bonds: NDArray[np.int64]  # (B, 2)
    lengths: Floats  # (B,) Å, at the start
    temperature: float  # K
    closest: Floats  # (119, 119) Å, in training, by atomic numbers
    times: list[float] = field(default_factory=list)  # ps
    total: list[float] = field(default_factory=list)  # eV
    kelvin: list[float] = field(default_factory=list)
    positions: list[Floats] = field(default_factory=list)  # (N, 3) Å, unwrapped
    broken: str | None = None

    def look(self, ps: float) -> None:
        """Note the state at ``ps``."""
        atoms = self.atoms
        kelvin = float(atoms.get_temperature())
        self.times.append(ps)
        self.total.append(float(atoms.get_total_energy()))
        self.kelvin.append(kelvin)
        self.positions.append(atoms.get_positions())
        self.broken = self._fault(kelvin)

    def _fault(self, kelvin: float) -> str | None:
        atoms = self.atoms
        if not np.isfinite(atoms.positions).all() or not np.isfinite(kelvin):
            return "positions are no longer numbers"
        if kelvin > HOT * self.temperature:
            return f"{kelvin:.0f} K, more than {HOT:g} times the temperature asked for"
        if len(self.bonds):
            stretched = np.abs(_lengths(atoms, self.bonds) - self.lengths)
            if stretched.max() > STRETCH:
                i, j = self.bonds[int(stretched.argmax())]
                return f"the bond of atoms {i} and {j} is {stretched.max():.2f} Å off its length"
        calculator: PotentialCalculator = atoms.calc
        edges = calculator.edges.at(atoms.positions, atoms.cell.array, atoms.pbc)
        if len(edges.squares):
            z = atoms.numbers
            limits = self.closest[z[edges.receivers.numpy(force=True)], z[edges.senders.numpy(force=True)]]
            room = np.sqrt(edges.squares.double().numpy(force=True)) - CLOSE * limits
            if room.min() < 0:
                i, j = (int(side[int(room.argmin())]) for side in (edges.receivers, edges.senders))
                return f"atoms {i} and {j} overlap"
        return None


def dynamics(
    model: Path,
    trials_csv: Path | None,
    frames: Path,
    split: Path,
    spec: dict[str, Any],
    threads: int,
    output: Path,
) -> None:
    """Run the dynamics that ``spec`` (keys of the configuration's ``dynamics``) asks for; write a JSON record.

    Nothing is run with a network that diverged, or of a trial that was not chosen; the record says which it was.
    """
    try:
        options = Dynamics(**spec)
    except ValidationError as error:
        raise PriorbenchError(f"--spec: {first_line(error)}") from None
    prepare_torch(threads)
    metadata = load_model(model)[1]
    run = metadata["spec"]
    record: dict[str, Any] = {"dataset": run["dataset"], "backbone": run["backbone"]["name"]}
    record |= {"strategy": run["strategy"], "seed": run["seed"], "trial": run.get("trial", 1)}
    if trials_csv is not None and not is_chosen(trials_csv, record):
        write_json(output, {**record, "status": "not chosen"})
        return
    if metadata["status"] == "diverged":
        write_json(output, {**record, "status": "diverged"})
        return
    calculator = load_potential(model, device=run["device"], outside="ignore")
    content = Frames.load(frames, verify=True)
    test = np.asarray(load_split(split, metadata["data_hash"], content)["test"], np.int64)
    start = int(draw(np.sort(test), 1, run["seed"], _DRAW)[0])
    record |= {
        "status": "completed",
        "structure": start,
        "atoms": int(content.sizes[start]),
        "rigid": calculator.domain.rigid,
        "conservative": calculator.conservative,
        **options.model_dump(),
    }
    began = time.perf_counter()
    nve = run_one(content, start, calculator, options, options.nve_ps, run["seed"], thermostat=False)
    nvt = run_one(content, start, calculator, options, options.nvt_ps, run["seed"], thermostat=True)
    record |= {"nve": _nve(nve), "nvt": _nvt(nvt, options, reference_of(content, start))}
    write_json(output, {**record, "seconds": time.perf_counter() - began})


def is_chosen(trials_csv: Path, run: dict[str, Any]) -> bool:
    """Whether the trial of ``run`` is the one that validation chose."""
    return Trial(**{name: run[name] for name in Trial._fields}) in load_chosen(trials_csv)


def run_one(
    frames: Frames,
    start: int,
    calculator: PotentialCalculator,
    options: Dynamics,
    length: float,
    seed: int,
    thermostat: bool,
) -> Watch:
    """A trajectory of ``length`` ps from structure ``start``, cut when it breaks."""
    atoms = structure_of(frames, start)
    rng = np.random.RandomState(seed)
    bonds = bonds_of(frames, start)
    watch = Watch(atoms, bonds, _lengths(atoms, bonds), options.temperature, calculator.domain.thresholds())
    if calculator.domain.rigid:
        pairs = rigid_pairs(frames, start)
        atoms.set_constraint(RigidDistances(pairs, _lengths(atoms, pairs)))
    atoms.calc = calculator
    thermalize_momenta(atoms, options.temperature, rng=rng)
    Stationary(atoms)
    # Constraints and the centre of mass have taken some of it.
    force_temperature(atoms, options.temperature)
    step = options.timestep_fs * units.fs
    mover: Any = VelocityVerlet(atoms, timestep=step)
    if thermostat:
        friction = options.friction_per_ps / (1000 * units.fs)
        mover = Langevin(atoms, step, temperature_K=options.temperature, friction=friction, fixcm=False, rng=rng)
    every = max(round(SAMPLE_FS / options.timestep_fs), 1)
    advance(mover, watch, round(length * 1000 / options.timestep_fs), every, options.timestep_fs / 1000)
    return watch


def advance(mover: Any, watch: Watch, steps: int, every: int, step_ps: float) -> None:
    """Take ``steps``, looking at the state ``every`` so many; stop when it breaks."""
    done = 0
    watch.look(0.0)
    while done < steps and watch.broken is None:
        count = min(every, steps - done)
        try:
            mover.run(count)
        except (PriorbenchError, RuntimeError, ValueError, np.linalg.LinAlgError) as error:
            # Constraints that cannot be kept, atoms that flew away: what an exploding trajectory ends in.
            watch.broken = f"cannot go on: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            return
        done += count
        watch.look(done * step_ps)


def structure_of(frames: Frames, structure: int) -> Atoms:
    """One structure with its molecules whole."""
    atoms, cell, pbc = frames.atoms_of(structure), np.array(frames.cells[structure]), np.array(frames.pbc[structure])
    molecules = np.asarray(frames.molecules[atoms])
    firsts = np.unique(molecules, return_index=True)[1]
    positions = whole(frames, np.array([structure]), firsts[molecules[firsts] >= 0])
    return Atoms(np.array(frames.atomic_numbers[atoms], int), positions, cell=cell, pbc=pbc)


def bonds_of(frames: Frames, structure: int) -> NDArray[np.int64]:
    """Bonds (B, 2) of one structure."""
    return np.asarray(frames.bonds[frames.bond_offsets[structure] : frames.bond_offsets[structure + 1]], np.int64)


def rigid_pairs(frames: Frames, structure: int) -> NDArray[np.int64]:
    """Pairs (P, 2) whose distances make molecules of three atoms rigid; of others the bonds."""
    molecules = np.asarray(frames.molecules[frames.atoms_of(structure)])
    pairs = {(int(a), int(b)) for a, b in bonds_of(frames, structure)}
    for molecule in range(int(molecules.max(initial=-1)) + 1):
        members = np.flatnonzero(molecules == molecule)
        if len(members) == 3:
            a, b, c = (int(m) for m in members)
            pairs |= {(a, b), (a, c), (b, c)}
    return np.array(sorted(pairs), np.int64)


def reference_of(frames: Frames, start: int) -> Distributions:
    """The distributions of the data: structures of the sub-system of ``start`` with the same atoms, 500 at most."""
    numbers = np.array(frames.atomic_numbers[frames.atoms_of(start)], np.int64)
    same = np.flatnonzero((frames.subsystems == frames.subsystems[start]) & (frames.sizes == len(numbers)))
    same = np.array([s for s in same if np.array_equal(frames.atomic_numbers[frames.atoms_of(int(s))], numbers)])
    if len(same) > REFERENCE:
        same = draw(same, REFERENCE, 0, _DRAW)
    found = Distributions.like(numbers, np.array(frames.cells[start]), np.array(frames.pbc[start]))
    for s in same.tolist():
        atoms = frames.atoms_of(s)
        found.add(np.array(frames.positions[atoms]), np.array(frames.cells[s]), np.array(frames.pbc[s]))
    return found


def _nve(watch: Watch) -> dict[str, Any]:
    """Drift of the predicted total energy, and how much the system heats, which needs no predicted energy."""
    atoms, times = len(watch.atoms), np.array(watch.times)
    record: dict[str, Any] = {"ps": times[-1], "broken": watch.broken}
    if len(times) > 2:
        slope, rest = drift(np.array(watch.total) * 1000 / atoms, times)
        heating, _ = drift(np.array(watch.kelvin), times)
        record |= {"drift_mev_per_atom_per_ps": slope, "fluctuation_mev_per_atom": rest, "heating_K_per_ps": heating}
    return record


def _nvt(watch: Watch, options: Dynamics, reference: Distributions) -> dict[str, Any]:
    """How long it was stable, and the distributions of what came before it broke."""
    times = np.array(watch.times)
    last = len(times) - (watch.broken is not None)
    first = min(int(EQUILIBRATION * len(times)), max(last - 1, 0))
    cell, pbc = watch.atoms.cell.array, np.asarray(watch.atoms.pbc)
    found = Distributions.like(watch.atoms.numbers.astype(np.int64), cell, pbc)
    for positions in watch.positions[first:last]:
        found.add(positions, cell, pbc)
    stable = times[last - 1] if last else 0.0
    record: dict[str, Any] = {
        "ps": stable,
        "asked_ps": options.nvt_ps,
        "broken": watch.broken,
        "temperature_K": float(np.mean(watch.kelvin[first:last])) if last > first else None,
        "frames": found.frames,
        "reference_frames": reference.frames,
        "r": found.distances.tolist(),
        "distributions": {pair: found.of(pair).tolist() for pair in found.pairs},
        "reference": {pair: reference.of(pair).tolist() for pair in reference.pairs},
        "periodic": found.periodic,
    }
    if found.frames:
        record |= found.errors(reference)
    if pbc.all() and stable - times[first] >= SHORTEST:
        heavy = watch.atoms.numbers == watch.atoms.numbers.max()
        chosen = np.array(watch.positions[first:last])[:, heavy]
        record["diffusion_A2_per_ps"] = diffusion(chosen, times[first:last])
    return record


def _lengths(atoms: Atoms, bonds: NDArray[np.int64]) -> Floats:
    """Lengths (B,) of ``bonds``, by the nearest image."""
    from ase.geometry import find_mic

    vectors = atoms.positions[bonds[:, 1]] - atoms.positions[bonds[:, 0]]
    return np.asarray(find_mic(vectors, atoms.cell, atoms.pbc)[1]) if len(bonds) else np.zeros(0)
