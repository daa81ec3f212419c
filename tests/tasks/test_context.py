"""Reading the neighbours is what takes the masking loss below its context-free floor, and nothing else does.

On rigid water whose molecules each see only themselves, no backbone can beat the floor on molecules it was not trained
on; with its neighbours in sight every backbone does.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from priorbench.cli import main
from priorbench.config import Training
from priorbench.datasets.blocks import take
from priorbench.frames import Frames
from priorbench.neighbours import Neighbours, build
from priorbench.registry import BACKBONES, load
from priorbench.tasks.masking import Masking, MaskingOptions
from priorbench.training.labels import Labels
from priorbench.training.loop import Loop, steps_per_epoch
from priorbench.training.model import build as network
from priorbench.training.store import Store
from tests.conftest import LONG, random_rotation

BOND_ONLY, NEIGHBOURS = 1.2, 3.4  # Å: nothing but the O–H bond, and the first shell
FLOORS = {"vector": 0.479, "gradient": 0.730}
ROTATIONS = 10  # copies of each training frame, for networks that do not know that directions are all alike
SIZES = {"forcenet": {"frequencies": 12}}
EPOCHS = {"gns": 24, "forcenet": 10}
RATES = {"gns": 1e-3}
NAMES = BACKBONES if LONG else ("painn",)  # all take minutes


@pytest.fixture(scope="module")
def water(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Frames]:
    """Two short trajectories of rigid TIP3P water, from the generator that the benchmark uses."""
    folder = tmp_path_factory.mktemp("water")
    options = {"trajectories": 2, "frames": 12, "interval_steps": 100, "equilibration_ps": 3.0, "smoke": True}
    spec = json.dumps({"name": "water", "source": "tip3p", "options": options})
    parts = [str(folder / f"trajectory{i}.npz") for i in range(2)]
    for i, part in enumerate(parts):
        assert main(["acquire", "--dataset", spec, "--part", f"trajectory{i}", "--output", part]) == 0
    frames = str(folder / "frames.safetensors")
    assert main(["convert", "--dataset", spec, "--parts", *parts, "--output", frames]) == 0
    both = Frames.load(folder / "frames.safetensors")
    return {"train": rotated(both, 0, ROTATIONS), "held out": rotated(both, 1, 1)}


def rotated(frames: Frames, group: int, copies: int) -> Frames:
    """The frames of one group, each in ``copies`` random orientations (cell and all)."""
    rng = np.random.default_rng(0)
    chosen = np.repeat(np.flatnonzero(frames.groups == group), copies)
    turns = [random_rotation(rng).T for _ in chosen]
    copied = take(frames, chosen)
    by_atom = np.repeat(np.stack(turns), copied.sizes, axis=0)
    return replace(
        copied,
        positions=np.einsum("ak,akc->ac", copied.positions, by_atom),
        forces=np.einsum("ak,akc->ac", copied.forces, by_atom),
        cells=copied.cells @ np.stack(turns),
    )


def store_of(frames: Frames, folder: Path, cutoff: float) -> Store:
    frames.save(folder / "frames.safetensors")
    build(folder / "frames.safetensors", cutoff, folder / "neighbours.safetensors")
    neighbours = Neighbours.load(folder / "neighbours.safetensors", frames.hash(), cutoff)
    everything = np.arange(len(frames))
    return Store.build(frames, neighbours, everything, Labels.fit(frames, everything))


def held_out_loss(water: dict[str, Frames], name: str, folder: Path, cutoff: float) -> tuple[float, float]:
    """Best masking loss on the held-out trajectory after training on the other, and its floor."""
    stores = store_of(water["train"], folder, cutoff), store_of(water["held out"], folder, cutoff)
    size = {"layers": 2, "width": 24, **SIZES.get(name, {})}
    model = network({"name": name, "architecture": name, "cutoff": cutoff, **size}, 0)
    training = Training(epochs=EPOCHS.get(name, 3), batch_size=2, learning_rate=RATES.get(name, 3e-3))
    steps = training.epochs * steps_per_epoch(len(stores[0]), training.batch_size)
    task = Masking(MaskingOptions(ratio=0.5))
    outcome = Loop(model, task, stores, training, steps, 0, lambda row: None).run()
    return outcome.best["val_loss"], task.floor(stores[1], model.readout)


@pytest.mark.parametrize("name", NAMES)
def test_alone_no_backbone_beats_the_floor(water: dict[str, Frames], name: str, tmp_path: Path) -> None:
    loss, floor = held_out_loss(water, name, tmp_path, BOND_ONLY)
    assert floor == pytest.approx(FLOORS[load("backbone", name).readout], abs=2e-3)
    # 12 frames with 32 masked molecules each leave the mean cosine uncertain by about 0.01.
    assert loss > floor - 0.02


@pytest.mark.parametrize("name", NAMES)
def test_with_its_neighbours_every_backbone_does(water: dict[str, Frames], name: str, tmp_path: Path) -> None:
    loss, floor = held_out_loss(water, name, tmp_path, NEIGHBOURS)
    assert loss < floor - 0.02
