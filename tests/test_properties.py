"""What holds for any structure, mask, seed and unit: neighbours, masking, statistics and conversion of units."""

import math
import tempfile
from dataclasses import astuple
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from priorbench.analysis.intervals import MARGIN, correct, paired
from priorbench.analysis.significance import holm
from priorbench.datasets.extxyz import ExtXYZ, ExtXYZOptions
from priorbench.datasets.runner import BOHR, HARTREE, in_canonical_units
from priorbench.graph import minimum_image
from priorbench.neighbours import neighbour_list
from priorbench.tasks.masking import Masking, MaskingOptions
from tests.conftest import make_frames, make_store

quick = settings(max_examples=15, deadline=None, derandomize=True)

# --- neighbours ------------------------------------------------------------------------------------------------------

seeds = st.integers(0, 2**31)
periodicities = st.tuples(st.booleans(), st.booleans(), st.booleans())


def structure(seed: int, atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (atoms, 3), partly outside of a skewed cell (3, 3) of 3 to 5 Å."""
    random = np.random.default_rng(seed)
    cell = np.diag(random.uniform(3, 5, 3)) + np.tril(random.uniform(-1, 1, (3, 3)), -1)
    return random.uniform(-0.2, 1.2, (atoms, 3)) @ cell, cell


def edges(positions: np.ndarray, cell: np.ndarray, pbc: tuple[bool, ...], cutoff: float) -> set[tuple[int, ...]]:
    senders, receivers, shifts = neighbour_list(positions, cell, np.array(pbc), cutoff)
    found = [tuple(edge) for edge in np.column_stack([receivers, senders, shifts]).tolist()]
    assert len(set(found)) == len(found)
    return set(found)


def by_brute_force(
    positions: np.ndarray, cell: np.ndarray, pbc: tuple[bool, ...], cutoff: float
) -> set[tuple[int, ...]]:
    reach = [range(-4, 5) if periodic else range(1) for periodic in pbc]
    places, found = range(len(positions)), set()
    for shift in product(*reach):
        vectors = positions[None] - positions[:, None] + np.array(shift) @ cell
        near = np.linalg.norm(vectors, axis=2) <= cutoff
        found |= {(i, j, *shift) for i in places for j in places if near[i, j] and (i != j or any(shift))}
    return found


@quick
@given(seed=seeds, atoms=st.integers(1, 5), pbc=periodicities, cutoff=st.floats(0.5, 3.5))
def test_neighbours_are_those_of_brute_force_in_both_directions(
    seed: int, atoms: int, pbc: tuple[bool, ...], cutoff: float
) -> None:
    positions, cell = structure(seed, atoms)
    found = edges(positions, cell, pbc, cutoff)
    assert found == by_brute_force(positions, cell, pbc, cutoff)
    assert found == {(j, i, -a, -b, -c) for i, j, a, b, c in found}


@quick
@given(seed=seeds, atoms=st.integers(1, 5), pbc=periodicities, cutoff=st.floats(0.5, 3.5))
def test_neighbours_do_not_depend_on_where_the_structure_lies_or_in_which_cell_an_atom_is(
    seed: int, atoms: int, pbc: tuple[bool, ...], cutoff: float
) -> None:
    positions, cell = structure(seed, atoms)
    random = np.random.default_rng(seed + 1)
    cells = random.integers(-2, 3, (atoms, 3)) * pbc
    found = edges(positions + cells @ cell + random.uniform(-9, 9, 3), cell, pbc, cutoff)
    back = {(i, j, *(np.array(shift) + cells[j] - cells[i]).tolist()) for i, j, *shift in found}
    assert back == edges(positions, cell, pbc, cutoff)


# --- masking ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def batch():
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(make_frames(3), Path(folder))
        return store.batch(torch.arange(3))


@quick
@given(seed=seeds, ratio=st.floats(0.05, 1.0), element=st.sampled_from(["hydrogen", "heavy", "any"]))
def test_a_mask_takes_its_share_of_the_molecules_and_leaves_the_rest_where_it_was(batch, seed, ratio, element) -> None:
    graph = batch.graph
    example = Masking(MaskingOptions(ratio=ratio, element=element)).corrupt(batch, torch.Generator().manual_seed(seed))
    left, places = example.graph, {tuple(r): i for i, r in enumerate(graph.positions.tolist())}
    kept = torch.tensor([places[tuple(r)] for r in left.positions.tolist()])
    assert (kept.diff() > 0).all()  # each of them, in its order, to the last bit
    assert torch.equal(left.atomic_numbers, graph.atomic_numbers[kept])
    gone = sorted(set(range(graph.atoms)) - set(kept.tolist()))
    removed = graph.atomic_numbers[gone].tolist()
    assert set(removed) <= {"hydrogen": {1}, "heavy": {8}, "any": {1, 8}}[element]
    molecules = batch.molecules[gone].tolist()
    assert len(set(molecules)) == len(molecules)  # no molecule loses two
    counts = torch.bincount(graph.structure[gone], minlength=3).tolist()
    assert counts == [math.floor(ratio * 8 + 1e-9)] * 3
    for atom in example.selected.tolist():  # the nearest image of the atom that its own molecule lost
        own = kept[atom]
        lost = [i for i in gone if batch.molecules[i] == batch.molecules[own]]
        vector = graph.positions[lost] - graph.positions[own]
        s = graph.structure[own]
        nearest = minimum_image(vector, graph.cells[s][None], graph.pbc[s][None])
        torch.testing.assert_close(example.vectors[atom], nearest[0])


# --- statistics ------------------------------------------------------------------------------------------------------


def seeded_errors(seed: int, count: int) -> list[tuple[float, float]]:
    """Errors of two strategies by seed, some per cent about each other."""
    random = np.random.default_rng(seed)
    return np.exp(random.normal(random.normal(0, 0.1, 2), 0.05, (count, 2))).tolist()


errors = st.builds(seeded_errors, seeds, st.integers(2, 6))


def compared(pairs: list[tuple[float, float]], order: list[int] | None = None):
    places = order or list(range(len(pairs)))
    return paired({s: pairs[s][0] for s in places}, {s: pairs[s][1] for s in places})


@quick
@given(pairs=errors, scale=st.floats(1e-3, 1e3), seed=seeds)
def test_neither_the_order_of_seeds_nor_the_unit_of_errors_changes_a_comparison(pairs, scale, seed) -> None:
    found = compared(pairs)
    assert compared(pairs, np.random.default_rng(seed).permutation(len(pairs)).tolist()) == found
    scaled = compared([(a * scale, b * scale) for a, b in pairs])
    assert (scaled.pairs, scaled.diverged) == (found.pairs, found.diverged)
    for name in ("delta", "low", "high", "p"):
        assert getattr(scaled, name) == pytest.approx(getattr(found, name), rel=1e-6, abs=1e-6)


@quick
@given(pairs=errors)
def test_two_strategies_that_change_places_mirror_the_interval(pairs) -> None:
    there, back = compared(pairs), compared([(b, a) for a, b in pairs])
    assert math.log1p(back.delta) == pytest.approx(-math.log1p(there.delta), abs=1e-9)
    assert math.log1p(back.low) == pytest.approx(-math.log1p(there.high), rel=1e-6, abs=1e-6)
    assert back.p == pytest.approx(there.p, rel=1e-6, abs=1e-12)
    assert {there.verdict, back.verdict} != {"reproduced"}
    if there.verdict == "reproduced":
        assert there.high < -MARGIN
        assert back.delta > 0


@quick
@given(st.lists(st.one_of(st.none(), st.floats(0, 1, allow_subnormal=False)), max_size=8))
def test_holm_keeps_the_order_and_never_lowers_a_p_value(p_values) -> None:
    corrected = holm(p_values)
    tested = [(p, q) for p, q in zip(p_values, corrected, strict=True) if p is not None]
    assert [q is None for q in corrected] == [p is None for p in p_values]
    assert all(p <= q <= 1 for p, q in tested)
    assert all(q <= r for (p, q), (o, r) in product(tested, tested) if p <= o)


def test_a_family_of_one_is_not_corrected() -> None:
    change = compared([(1.0, 2.0), (1.1, 2.1), (0.9, 2.2)])
    (alone,) = correct([change])
    assert (alone.p_holm, alone.p_margin_holm) == (change.p, change.p_margin)
    assert astuple(alone)[:8] == astuple(change)[:8]


# --- units -----------------------------------------------------------------------------------------------------------

# Of one unit, by hand: Å of a length, eV of an energy (CODATA 2018).
LENGTHS = {"Å": 1.0, "Bohr": 0.529177210903, "nm": 10.0}
ENERGIES = {"eV": 1.0, "Hartree": 27.211386245988, "kcal/mol": 0.0433641042, "kJ/mol": 0.0103642697}


def spring(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energy and forces on the second of two oxygens this far apart (Å), eV and eV/Å."""
    return 2.0 * (lengths - 1.3) ** 2 - 4000.0, -4.0 * (lengths - 1.3)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(length=st.sampled_from(sorted(LENGTHS)), energy=st.sampled_from(sorted(ENERGIES)), seed=seeds)
def test_any_declared_unit_is_the_same_structure_and_forces_stay_the_slope_of_energies(length, energy, seed) -> None:
    lengths = np.random.default_rng(seed).uniform(1.2, 1.4) + np.array([-1e-3, 0.0, 1e-3])
    energies, forces = spring(lengths)
    lines = []
    for r, e, f in zip(lengths / LENGTHS[length], energies, forces, strict=True):
        f = f / (ENERGIES[energy] / LENGTHS[length])
        lines += ["2", f"Properties=species:S:1:pos:R:3:forces:R:3 energy={float(e / ENERGIES[energy])!r} pbc=F"]
        lines += [f"O 0 0 0 {float(-f)!r} 0 0", f"O {float(r)!r} 0 0 {float(f)!r} 0 0"]
    with tempfile.TemporaryDirectory() as folder:
        path, part = Path(folder) / "own.xyz", Path(folder) / "structures.npz"
        path.write_text("\n".join(lines) + "\n")
        options = ExtXYZOptions(path=str(path), length_unit=length, energy_unit=energy, check_units=False)
        source = ExtXYZ(options)
        source.acquire("structures", None, part)
        frames = source.convert({"structures": part})
    np.testing.assert_allclose(frames.positions[1::2, 0], lengths, rtol=1e-6)
    np.testing.assert_allclose(frames.energies, energies, rtol=1e-6)
    np.testing.assert_allclose(frames.forces[1::2, 0], forces, rtol=1e-6, atol=1e-7)
    slope = (frames.energies[2] - frames.energies[0]) / (frames.positions[5, 0] - frames.positions[1, 0])
    assert frames.forces[3, 0] == pytest.approx(-slope, rel=1e-3, abs=1e-4)


@quick
@given(seed=seeds)
def test_atomic_units_round_trip_and_forces_stay_the_slope_of_energies(seed: int) -> None:
    random = np.random.default_rng(seed)
    given_arrays = {
        "positions": random.normal(size=(4, 3)),
        "cells": random.normal(size=(1, 3, 3)),
        "energies": random.normal(size=2),
        "forces": random.normal(size=(4, 3)),
        "offsets": np.array([0, 2, 4]),
    }
    found = in_canonical_units(given_arrays)
    back = {"positions": 1 / BOHR, "cells": 1 / BOHR, "energies": 1 / HARTREE, "forces": BOHR / HARTREE, "offsets": 1}
    for name, factor in back.items():
        np.testing.assert_allclose(found[name] * factor, given_arrays[name], rtol=1e-14)
    # A force times a length is an energy, in either units.
    work = (found["forces"] * found["positions"]).sum()
    assert work == pytest.approx((given_arrays["forces"] * given_arrays["positions"]).sum() * HARTREE)
