"""Wrong units, overlapping atoms and unusable values are refused with file, structure and reason."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase import units
from tests.conftest import water_box

from priorbench.datasets.blocks import Block, assemble, rectangular
from priorbench.errors import PriorbenchError

COUNT = 12


@pytest.fixture(scope="module")
def water() -> Block:
    """Boxes of 27 waters with thermal labels: forces of 0.7 eV/Å, energies of −200 meV an atom."""
    random = np.random.default_rng(0)
    boxes = [water_box(random, side=3) for _ in range(COUNT)]
    atoms = len(boxes[0][0])
    return rectangular(
        positions=np.stack([b[0] for b in boxes]),
        forces=random.normal(scale=0.7, size=(COUNT, atoms, 3)),
        energies=random.normal(-0.2 * atoms, 0.05 * np.sqrt(atoms), COUNT),
        cells=np.stack([b[1] for b in boxes]),
        atomic_numbers=boxes[0][2],
        groups=np.arange(COUNT, dtype=np.int32),
        where="boxes.xyz",
    )


def scaled(block: Block, length: float = 1.0, energy: float = 1.0, force: float = 1.0, shift: float = 0.0) -> Block:
    return replace(
        block,
        positions=block.positions * length,
        cells=block.cells * length,
        energies=(block.energies + shift * np.diff(block.offsets)) * energy,
        forces=block.forces * force,
    )


def spoiled(block: Block, **places: tuple[Any, float]) -> Block:
    arrays = {}
    for name, (place, value) in places.items():
        arrays[name] = getattr(block, name).copy()
        arrays[name][place] = value
    return replace(block, **arrays)


HARTREE, KCAL, KJ, BOHR = units.Hartree, units.kcal / units.mol, units.kJ / units.mol, units.Bohr
ELECTRONS = -156.0  # eV an atom, a pseudopotential's water
WRONG: dict[str, tuple[Callable[[Block], Block], str]] = {
    "positions in Bohr": (lambda b: scaled(b, length=1 / BOHR), "positions seem to be in Bohr, not Å"),
    "positions in nm": (lambda b: scaled(b, length=0.1), "positions seem to be in nm, not Å"),
    "forces in Hartree/Bohr": (lambda b: scaled(b, force=BOHR / HARTREE), "Hartree/Bohr, not eV/Å"),
    "forces in kcal/mol/Å": (lambda b: scaled(b, force=1 / KCAL), "kcal/mol/Å or kJ/mol/Å, not eV/Å"),
    "energies in Hartree": (lambda b: scaled(b, energy=1 / HARTREE, shift=ELECTRONS), "in Hartree, not eV"),
    "energies in kcal/mol": (lambda b: scaled(b, energy=1 / KCAL, shift=ELECTRONS), "kcal/mol or kJ/mol, not eV"),
    "energies in kJ/mol": (lambda b: scaled(b, energy=1 / KJ, shift=ELECTRONS), "kcal/mol or kJ/mol, not eV"),
}
BAD: dict[str, tuple[Callable[[Block], Block], str]] = {
    "missing energy": (lambda b: spoiled(b, energies=(3, np.nan)), "structure 3: its energy is missing"),
    "NaN force": (lambda b: spoiled(b, forces=((81, 0), np.nan)), "structure 1: a force is missing"),
    "infinite position": (lambda b: spoiled(b, positions=((0, 2), np.inf)), "structure 0: a position"),
    "NaN cell": (lambda b: spoiled(b, cells=((2, 0, 0), np.nan)), "structure 2: a cell vector"),
    "flat cell": (lambda b: spoiled(b, cells=((4, 1, 1), 0.0)), "structure 4: its periodic cell has zero volume"),
    "no such element": (lambda b: spoiled(b, atomic_numbers=(85, 119)), "structure 1: an element is outside"),
    "overlap": (
        lambda b: spoiled(b, positions=(163, b.positions[162] + 0.2)),
        "structure 2: atoms 0 and 1 are 0.346 Å",
    ),
    "overlap across the cell": (
        lambda b: spoiled(b, positions=(163, b.positions[162] + b.cells[2, 1] + 0.2)),
        "structure 2: atoms 0 and 1 are 0.346 Å apart and overlap",
    ),
    "atom outside": (
        lambda b: spoiled(b, pbc=((5, 2), False), positions=((5 * 81 + 7, 2), 9.4)),
        "structure 5: an atom lies outside the cell along a non-periodic direction",
    ),
    "damaged offsets": (lambda b: spoiled(b, offsets=(4, 11)), "do not fit each other"),
}


def test_plausible_water_is_accepted(water: Block) -> None:
    frames = assemble([water, scaled(water, shift=ELECTRONS)], {})
    assert len(frames) == 2 * COUNT
    assert (frames.molecules >= 0).all()
    assert frames.metadata["shortest_distances_A"]["H-O"] == pytest.approx(0.9572, abs=1e-6)


@pytest.mark.parametrize(("change", "reason"), [*WRONG.values(), *BAD.values()], ids=[*WRONG, *BAD])
def test_what_cannot_be_trusted_is_refused_in_one_line(
    water: Block, change: Callable[[Block], Block], reason: str
) -> None:
    with pytest.raises(PriorbenchError) as refusal:
        assemble([change(water)], {})
    message = str(refusal.value)
    assert reason in message
    assert message.startswith("boxes.xyz: ")
    assert "\n" not in message


@pytest.mark.parametrize("units_of", [name for name in WRONG if "nm" not in name])
def test_odd_units_can_be_insisted_on(water: Block, units_of: str) -> None:
    assert len(assemble([WRONG[units_of][0](water)], {}, plausible=False)) == COUNT


def test_noble_gases_and_metals_are_no_positions_in_bohr() -> None:
    random = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)
    for number, spacing in ((18, 3.8), (11, 3.7), (29, 2.6)):
        block = rectangular(
            positions=grid[None] * spacing + random.uniform(-0.1, 0.1, (COUNT, 27, 3)),
            forces=random.normal(scale=0.3, size=(COUNT, 27, 3)),
            energies=random.normal(-27.0, 0.2, COUNT),
            cells=np.tile(np.eye(3) * 3 * spacing, (COUNT, 1, 1)),
            atomic_numbers=np.full(27, number, np.int16),
            groups=np.arange(COUNT, dtype=np.int32),
        )
        frames = assemble([block], {})
        assert (frames.molecules == -1).all()
        assert len(frames.bonds) == 0


def test_energies_of_a_short_trajectory_may_spread_little(water: Block) -> None:
    # A trajectory of the default experiment, ten frames in two picoseconds, was taken for Hartree.
    atoms = len(water.forces) // COUNT
    little = np.random.default_rng(2).normal(-200.0 * atoms / 3, 0.013 * 0.7 * np.sqrt(atoms), COUNT)
    assert len(assemble([replace(water, energies=little)], {})) == COUNT
    with pytest.raises(PriorbenchError, match="in Hartree, not eV"):
        assemble([replace(water, energies=little / HARTREE * 2)], {})


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("cells", np.eye(3) * 1e300, "a cell vector is longer than 10000 Å"),  # ended the process
        ("cells", np.diag([8.0, 8.0, 1e-3]), "zero volume"),
        ("cells", np.eye(3) * 0.1, "more than 200 atoms in a cubic Å"),
        ("positions", 1e200, "an atom is farther than 1e"),
        ("energies", 1e300, "its energy is larger than 1e"),
        ("forces", -1e300, "a force is larger than 1e"),
    ],
)
def test_what_no_single_precision_holds_is_refused_before_neighbours_are_sought(
    name: str, value: object, reason: str
) -> None:
    from priorbench.datasets.blocks import check, rectangular

    arrays = {
        "positions": np.array([[[1.0, 1, 1], [1, 1, 2]]]),
        "forces": np.zeros((1, 2, 3)),
        "energies": np.zeros(1),
        "cells": np.eye(3)[None] * 8,
    }
    arrays[name][0] = value
    block = rectangular(**arrays, atomic_numbers=np.array([8, 1], np.int16), groups=np.zeros(1, np.int32))
    with pytest.raises(PriorbenchError, match=f"structure 0: .*{reason}"):
        check(block, plausible=False)
