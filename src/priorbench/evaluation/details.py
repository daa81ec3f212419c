"""Where finetuned networks err: test errors by element, by part of the motion and by hydrogen bonds, and a sample.

All networks of a dataset and backbone are read in one process.  Of several trials only the one that was chosen by
validation is tested here, as ``trials.csv`` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from priorbench.analysis.chosen import Trial, load_chosen
from priorbench.errors import PriorbenchError
from priorbench.evaluation.details_table import DECIMALS, write_cell
from priorbench.evaluation.errors import predict
from priorbench.evaluation.molecular import Waters
from priorbench.evaluation.parts import Molecules
from priorbench.frames import Frames, items_of
from priorbench.io import sha256_file
from priorbench.splits import draw
from priorbench.training.data import MEV, Inputs, Source
from priorbench.training.labels import Labels
from priorbench.training.model import State, build, load_model, transfer
from priorbench.training.process import gpu_of, prepare_torch
from priorbench.training.store import Store

COMPONENTS = 2000  # of forces in a run's parity sample, at most
_DRAW = 6  # stream of random numbers; the seed is fixed, so that all runs of a split have the same sample

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Row = dict[str, Any]


def details(
    models: Sequence[Path],
    trials_csv: Path,
    frames: Path,
    neighbours: Path,
    splits: Sequence[Path],
    threads: int,
    output: Path,
) -> None:
    """Write the details of the chosen ones of the finetuned networks ``models`` of one dataset and backbone."""
    loaded = [(path, *load_model(path)) for path in models]
    spec = loaded[0][2]["spec"]
    prepare_torch(threads, gpu_of(spec))
    place = spec["dataset"], spec["backbone"]["name"]
    chosen = {trial for trial in load_chosen(trials_csv) if trial[:2] == place}
    source = Source.load(Inputs(frames, neighbours, splits[0]), spec["backbone"]["cutoff"])
    by_hash = {sha256_file(split): split for split in splits}
    sides: dict[str, Side] = {}
    runs = []
    for path, state, metadata in loaded:
        _check(path, metadata, place, source.hash, by_hash)
        trial = _trial(metadata["spec"])
        if trial not in chosen:
            continue
        chosen.remove(trial)
        split, labels = metadata["split_hash"], Labels.from_json(metadata["labels"])
        if split not in sides:
            sides[split] = Side.of(source, by_hash[split], labels, metadata["spec"]["device"])
        runs.append(_run(state, metadata, labels, sides[split], str(path)))
    if chosen:
        lost = min(chosen)
        raise PriorbenchError(
            f"{trials_csv}: trial {lost.trial} of {lost.strategy}, seed {lost.seed} is chosen, but no model is given"
        )
    write_cell(output, *place, runs)


def _trial(spec: dict[str, Any]) -> Trial:
    return Trial(spec["dataset"], spec["backbone"]["name"], spec["strategy"], spec["seed"], spec.get("trial", 1))


def _check(path: Path, metadata: dict[str, Any], place: tuple[str, str], data: str, splits: dict[str, Path]) -> None:
    spec = metadata["spec"]
    if spec["stage"] != "finetune":
        raise PriorbenchError(f"{path}: a pretrained network predicts no energies and forces; finetune it first")
    if (own := (spec["dataset"], spec["backbone"]["name"])) != place:
        raise PriorbenchError(f"{path}: of {'/'.join(own)}, but the first is of {'/'.join(place)}; give those of one")
    if metadata["data_hash"] != data or metadata["split_hash"] not in splits:
        raise PriorbenchError(f"{path}: trained on other frames or another split than those given to test it")


@dataclass(frozen=True)
class Side:
    """The test structures of one split: what the runs of a seed have in common."""

    frames: Frames
    structures: Integers  # (S,)
    store: Store
    molecules: Molecules
    groups: dict[tuple[str, str], Integers]  # by kind and key the atoms (of A) whose errors are averaged
    sample: Integers  # atoms (of A) of the parity sample

    @classmethod
    def of(cls, source: Source, split: Path, labels: Labels, device: str) -> Self:
        """Read and measure the structures that ``split`` holds back; whose ``labels`` they get makes no difference."""
        frames, structures = source.frames, source.side(split, "test")
        store = Store.build(frames, source.neighbours, structures, labels, device)
        molecules = Molecules.of(frames, structures)
        atoms = int(frames.sizes[structures].sum())
        groups = _by_element(frames, structures) | _by_hydrogen_bonds(Waters.of(frames, structures), molecules)
        return cls(frames, structures, store, molecules, groups, draw(np.arange(atoms), COMPONENTS // 3, 0, _DRAW))

    def left_out(self) -> dict[str, int]:
        """How many molecules were divided, how many atoms are in none, and how many structures have such atoms."""
        sizes = self.frames.sizes[self.structures]
        home = np.repeat(np.arange(len(sizes)), sizes)
        whole = np.bincount(home[self.molecules.atoms], minlength=len(sizes))
        return {
            "structures": len(sizes),
            "molecules": len(self.molecules),
            "atoms_in_no_molecule": int((sizes - whole).sum()),
            "structures_with_such_atoms": int((whole < sizes).sum()),
        }


def _by_element(frames: Frames, structures: Integers) -> dict[tuple[str, str], Integers]:
    from ase.data import chemical_symbols

    numbers = frames.atomic_numbers[items_of(frames.offsets, structures)]
    return {("element", chemical_symbols[z]): np.flatnonzero(numbers == z) for z in np.unique(numbers)}


def _by_hydrogen_bonds(waters: Waters, molecules: Molecules) -> dict[tuple[str, str], Integers]:
    """Atoms of the water molecules with each number of hydrogen bonds."""
    counts = waters.targets["hydrogen_bonds"].astype(np.int64)
    owners = molecules.owner[np.searchsorted(molecules.atoms, waters.oxygens)]  # atoms ascend
    return {
        ("hydrogen_bonds", str(n)): molecules.atoms[np.isin(molecules.owner, owners[counts == n])]
        for n in np.unique(counts)
    }


def _run(state: State, metadata: dict[str, Any], labels: Labels, side: Side, where: str) -> dict[str, Any]:
    """What is written of one run; one that diverged, or predicts no finite number, has no rows."""
    spec, status = metadata["spec"], metadata["status"]
    record = {"strategy": spec["strategy"], "seed": spec["seed"], "trial": spec.get("trial", 1), "status": status}
    record |= side.left_out()
    nothing: dict[str, Any] = {"rows": [], "parity": {}, "shares": None}
    if status == "diverged":
        return {**record, **nothing}
    model = build(spec["backbone"], spec["seed"])
    transfer(model, state, where)
    energies, forces = predict(model.to(spec["device"]), side.store, labels, side.frames, side.structures)
    if not (np.isfinite(energies).all() and np.isfinite(forces).all()):
        return {**record, "status": "not finite", **nothing}
    return {**record, **compare(energies, forces, labels, side)}


def compare(energies: Floats, forces: Floats, labels: Labels, side: Side) -> dict[str, Any]:
    """Rows, shares of the parts and the parity sample of predicted ``energies`` (S,) eV and ``forces`` (A, 3) eV/Å."""
    true = side.frames.forces[items_of(side.frames.offsets, side.structures)]
    error = (forces - true) * MEV
    parts = side.molecules.divide(error)
    rows = [_row(kind, key, error[atoms]) for (kind, key), atoms in side.groups.items()]
    rows += [_row("part", name, part) for name, part in parts.items() if len(part)]
    reference = labels.composition_energies(side.frames, side.structures)
    per_atom = [
        (e - reference) / side.frames.sizes[side.structures] for e in (side.frames.energies[side.structures], energies)
    ]
    return {
        "rows": rows,
        "shares": side.molecules.shares(parts) if len(side.molecules) else None,
        "parity": {
            "force": _pairs("force", true[side.sample], forces[side.sample]),
            "energy": _pairs("energy", *per_atom),
        },
    }


def _row(kind: str, key: str, errors: Floats) -> Row:
    """RMSE and MAE (meV/Å) of the components of ``errors`` (n, 3) meV/Å."""
    rmse, mae = float(np.sqrt(np.mean(errors**2))), float(np.mean(np.abs(errors)))
    return {"kind": kind, "key": key, "count": len(errors), "rmse": rmse, "mae": mae}


def _pairs(quantity: str, reference: Floats, predicted: Floats) -> dict[str, list[float]]:
    """Rounded, flat."""
    values = zip(("reference", "predicted"), (reference, predicted), strict=True)
    return {name: np.round(numbers.ravel(), DECIMALS[quantity]).tolist() for name, numbers in values}
