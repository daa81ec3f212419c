"""Small water boxes for the tests: rigid molecules on a jittered lattice, labels from a toy potential."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from priorbench.datasets.blocks import assemble, rectangular
from priorbench.datasets.pipeline import source_for
from priorbench.frames import Frames
from priorbench.neighbours import Neighbours, build, reaching
from priorbench.training.labels import Labels
from priorbench.training.store import Store

OH, HOH = 0.9572, math.radians(104.52)
WATER = np.array([[0, 0, 0], [OH, 0, 0], [OH * math.cos(HOH), OH * math.sin(HOH), 0]])


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def water_box(
    rng: np.random.Generator, side: int = 2, spacing: float = 3.1, wrapped: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int16]]:
    """Positions, cell and atomic numbers of side³ rigid molecules; some cross the boundary."""
    cell = np.eye(3) * side * spacing
    places = np.stack(np.meshgrid(*[np.arange(side)] * 3), axis=-1).reshape(-1, 3) * spacing
    molecules = [WATER @ random_rotation(rng).T + place + rng.uniform(-0.2, 0.2, 3) for place in places]
    positions = np.concatenate(molecules) + rng.uniform(0, spacing, 3)
    if wrapped:
        positions %= np.diag(cell)
    return positions, cell, np.tile(np.array([8, 1, 1], dtype=np.int16), len(places))


def make_frames(count: int, seed: int = 0, groups: int | None = None, side: int = 2, wrapped: bool = True) -> Frames:
    """``count`` boxes with smooth toy labels: forces drawn at random, energies around −100 eV a molecule."""
    rng = np.random.default_rng(seed)
    boxes = [water_box(rng, side, wrapped=wrapped) for _ in range(count)]
    block = rectangular(
        positions=np.stack([b[0] for b in boxes]),
        forces=rng.normal(scale=0.7, size=(count, len(boxes[0][0]), 3)),
        energies=rng.normal(-100.0 * side**3, 0.3, count),
        cells=np.stack([b[1] for b in boxes]),
        atomic_numbers=boxes[0][2],
        groups=(np.arange(count) % (groups or count)).astype(np.int32),
    )
    return assemble([block], {"source": "tests", "subsystems": ["box"]})


def one_structure(
    positions: NDArray[np.float64], cell: NDArray[np.float64], atomic_numbers: list[int], periodic: bool = True
) -> Frames:
    """One structure with unit forces and zero energy; ``positions`` (n, 3) and ``cell`` (3, 3) in Å."""
    block = rectangular(
        positions=positions[None],
        forces=np.ones((1, *positions.shape)),
        energies=np.zeros(1),
        cells=cell[None],
        atomic_numbers=np.array(atomic_numbers, np.int16),
        groups=np.zeros(1, np.int32),
        pbc=(periodic,) * 3,
    )
    return assemble([block], {"source": "tests", "subsystems": ["one"]}, plausible=False)


def acquired(source: str, options: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Every part of a generated dataset, in ``folder``."""
    made = source_for(source, options)
    for part in made.parts():
        made.acquire(part, None, folder / f"{part}.npz")
    return {part: folder / f"{part}.npz" for part in made.parts()}


def make_store(
    frames: Frames,
    folder: Path,
    cutoff: float = 3.4,
    structures: NDArray[np.int64] | None = None,
    reach: float = 0.0,
) -> Store:
    """The frames (all, or some) with their neighbour lists, labels fitted on the same structures."""
    frames.save(folder / "frames.safetensors")
    build(folder / "frames.safetensors", cutoff, folder / "neighbours.safetensors")
    saved = Frames.load(folder / "frames.safetensors")
    neighbours = Neighbours.load(folder / "neighbours.safetensors", saved.metadata["hash"], cutoff)
    chosen = np.arange(len(frames)) if structures is None else structures
    return Store.build(saved, reaching(saved, neighbours, reach), chosen, Labels.fit(saved, chosen))


@pytest.fixture
def double():
    """Double precision while a test runs."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """As training jobs run; also keeps parallel test workers from fighting over the cores."""
    torch.set_num_threads(1)


#: ``make check-long``: every case of what ``make test`` has time for a few of.
LONG = "PRIORBENCH_LONG" in os.environ

#: Begun first, longest first: a module is one worker's, and none may start when the other has nothing left to do.
LONGEST = [
    "workflow/test_workflow",
    "training/test_checkpoint",
    "kernels/test_kernels",
    "faults/test_faults",
    "tasks/test_context",
    "workflow/test_rerun",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only the order of modules changes; that within one stays."""
    place = {Path(__file__).parent / f"{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What tests have measured, by their ``record_property``."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    for report in reports:
        if getattr(report, "when", None) == "call" and report.user_properties:
            where = report.nodeid.rpartition("::")[2]
            for name, value in report.user_properties:
                terminalreporter.write_line(f"{where}  {name}: {value}")
