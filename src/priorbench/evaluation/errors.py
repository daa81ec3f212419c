"""Errors of a finetuned network on its test split, beside those of the trivial predictor."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError
from priorbench.frames import Frames, items_of
from priorbench.io import sha256_file, write_json
from priorbench.training.data import MEV, Inputs, Source
from priorbench.training.labels import Labels
from priorbench.training.model import State, build, load_model, transfer
from priorbench.training.process import gpu_of, prepare_torch
from priorbench.training.store import Store

BATCH = 16
ERRORS = ("force_rmse", "force_mae", "energy_rmse", "energy_mae")


def evaluate(model_path: Path, inputs: Inputs, threads: int, output: Path) -> None:
    """Write the test errors of a finetuned network (meV/Å, meV/atom) to ``output``; null where it diverged."""
    state, metadata = load_model(model_path)
    spec = metadata["spec"]
    prepare_torch(threads, gpu_of(spec))
    if spec["stage"] != "finetune":
        raise PriorbenchError(f"{model_path}: a pretrained network predicts no energies and forces; finetune it first")
    source = Source.load(inputs, spec["backbone"]["cutoff"])
    if source.hash != metadata["data_hash"] or sha256_file(inputs.split) != metadata["split_hash"]:
        raise PriorbenchError(f"{model_path}: trained on other frames or another split than those given to test it")
    write_test(state, metadata, source, inputs.split, output)


def write_test(state: State, metadata: dict[str, Any], source: Source, split: Path, output: Path) -> bool:
    """Write the errors of the weights ``state`` on the test side of ``split``; ``metadata`` as stored with a model.

    False where there are none: the training diverged, or the weights predict infinity for some test structure.
    """
    frames, structures = source.frames, source.side(split, "test")
    spec, labels = metadata["spec"], Labels.from_json(metadata["labels"])
    trivial = errors_of(*trivial_prediction(frames, structures, labels), frames, structures)
    record: dict[str, Any] = {"structures": len(structures), **{f"trivial_{k}": trivial[k] for k in ERRORS}}
    record |= {**dict.fromkeys(ERRORS), "per_structure": []}
    finite = bool(metadata["status"] != "diverged")
    if finite:
        model = build(spec["backbone"], spec["seed"])
        transfer(model, state, str(output.parent))
        store = Store.build(frames, source.neighbours, structures, labels, spec["device"])
        energies, forces = predict(model.to(spec["device"]), store, labels, frames, structures)
        finite = bool(np.isfinite(energies).all() and np.isfinite(forces).all())
        if finite:
            record |= errors_of(energies, forces, frames, structures)
    write_json(output, record)
    return finite


def predict(
    model: torch.nn.Module,
    store: Store,
    labels: Labels,
    frames: Frames,
    structures: NDArray[np.int64],
    batch: int = BATCH,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energies (S,) eV and forces (A, 3) eV/Å of all structures in the store."""
    model.eval()
    energies, forces = [], []
    with torch.no_grad():
        for chunk in torch.arange(len(store), device=store.positions.device).split(batch):
            prediction = model(store.batch(chunk).graph)
            energies.append(prediction.energies.double().cpu().numpy())
            forces.append(prediction.vectors.double().cpu().numpy())
    reference = labels.reference_energies(frames, structures)
    return np.concatenate(energies) * labels.scale + reference, np.concatenate(forces) * labels.scale


def trivial_prediction(
    frames: Frames, structures: NDArray[np.int64], labels: Labels
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean training energy of each composition and no force."""
    return labels.composition_energies(frames, structures), np.zeros((int(frames.sizes[structures].sum()), 3))


def errors_of(
    energies: NDArray[np.float64], forces: NDArray[np.float64], frames: Frames, structures: NDArray[np.int64]
) -> dict[str, Any]:
    """RMSE and MAE of force components (meV/Å) and energies (meV/atom), and each structure's share."""
    atoms = items_of(frames.offsets, structures)
    sizes = frames.sizes[structures]
    force = (forces - frames.forces[atoms]) * MEV
    energy = (energies - frames.energies[structures]) / sizes * MEV
    owner = np.repeat(np.arange(len(structures)), sizes)
    squared = np.bincount(owner, (force**2).sum(axis=1), minlength=len(structures)) / (3 * sizes)
    return {
        "force_rmse": math.sqrt(np.mean(force**2)),
        "force_mae": float(np.mean(np.abs(force))),
        "energy_rmse": math.sqrt(np.mean(energy**2)),
        "energy_mae": float(np.mean(np.abs(energy))),
        "per_structure": [
            {
                "structure": int(s),
                "group": int(frames.groups[s]),
                "atoms": int(n),
                "force_rmse": math.sqrt(f),
                "energy_error": float(e),
            }
            for s, n, f, e in zip(structures, sizes, squared, energy, strict=True)
        ],
    }
