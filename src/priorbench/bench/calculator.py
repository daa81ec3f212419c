"""The suite ``calculator``: what the ASE calculator of a potential takes beyond the network itself.

The same calculator with the network alone, given its graph, and whole, given atoms that have moved a little, turn by
turn, so that other work on the machine disturbs both.
"""

import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from priorbench.analysis.text import number
from priorbench.bench.options import Options
from priorbench.bench.process import isolated
from priorbench.bench.suite import Log, Row, Suite
from priorbench.bench.table import Table

ATOMS = (774,)
MOVE = 0.02  # Å, standard deviation of a coordinate's change between two calls: a hydrogen in a femtosecond at 300 K
LEAST = 20  # calls of each kind
OWN = "priorbench.bench.calculator:own"


def measure(options: Options, machine: Row, folder: Path, log: Log) -> list[Row]:
    """One row a backbone and number of atoms."""
    rows = []
    for backbone, atoms in product(options.backbones, options.atoms or ATOMS):
        with log.attempt(f"calculator {backbone} {atoms} atoms"):
            arguments = {"atoms": atoms, "threads": options.threads, "device": options.device}
            found = isolated(OWN, backbone=backbone, seconds=options.seconds, **arguments)
            rows.append({"backbone": backbone, "atoms": atoms, **found, "ratio": found["ms"] / found["network_ms"]})
            log.say(f"calculator {backbone}, {atoms} atoms: {rows[-1]['ratio']:.2f} times the network alone")
    return rows


def own(backbone: str, atoms: int, threads: int, device: str, seconds: float) -> dict[str, Any]:
    """Mean milliseconds of both, and the searches for neighbours in 100 calls."""
    import numpy as np
    import torch
    from ase import Atoms

    from priorbench.bench.boxes import water_boxes
    from priorbench.graph import Graph
    from priorbench.potential.calculator import PotentialCalculator
    from priorbench.potential.domain import Domain
    from priorbench.registry import load
    from priorbench.training.labels import ROWS, Labels
    from priorbench.training.process import prepare_torch

    prepare_torch(threads)
    cls = load("backbone", backbone)
    cutoff = float(cls.Options().cutoff)
    (positions,), length = water_boxes(atoms, cutoff, 1)
    water = Atoms(np.tile([8, 1, 1], atoms // 3), positions, cell=[length] * 3, pbc=True)
    seen = dict.fromkeys(("1-1", "1-8", "8-8"), 0.1)
    domain = Domain([1, 8], seen, (atoms, atoms), 1, True, False, {})
    model = cls.initialised(cls.Options(), 0)
    calculator = PotentialCalculator(model, Labels((0.0,) * ROWS, 1.0), domain, cutoff, backbone, device)
    rng = np.random.default_rng(0)

    given: list[Graph] = []
    model.register_forward_pre_hook(lambda module, arguments: given.append(arguments[0]))

    def whole() -> None:
        calculator.calculate(water, ["energy", "forces"])

    def network() -> None:
        with torch.no_grad():
            model(replace(given[-1])).vectors.cpu()  # a copy has no order of the edges yet, as a new graph has not

    times: dict[str, list[float]] = {"ms": [], "network_ms": []}
    whole()
    network()
    started, searches = time.perf_counter(), calculator.edges.searches
    while len(times["ms"]) < LEAST or time.perf_counter() - started < seconds:
        water.positions = water.positions + rng.normal(scale=MOVE, size=water.positions.shape)
        for name, call in (("ms", whole), ("network_ms", network)):
            before = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - before))
        given[:-1] = []
    calls = len(times["ms"])
    return {
        **{name: float(np.mean(values)) for name, values in times.items()},
        "searches_in_100": 100 * (calculator.edges.searches - searches) / calls,
    }


def tables(rows: list[Row]) -> list[Table]:
    """Milliseconds of an energy and all forces."""
    caption = (
        "Calculator: energy and forces of one structure by the network alone and through ASE, neighbours and checks "
        f"included; from one call to the next every coordinate changes by {MOVE:g} Å."
    )
    header = ["backbone", "atoms", "network ms", "calculator ms", "ratio", "searches in 100"]
    lines = [
        [
            *(row["backbone"], str(row["atoms"]), number(row["network_ms"]), number(row["ms"])),
            *(f"{row['ratio']:.2f}", number(row["searches_in_100"])),
        ]
        for row in rows
    ]
    return [Table(caption, header, lines, "lrrrrr")] if rows else []


SUITE = Suite(("backbone", "atoms"), measure, tables)
