"""Classical labels: the force field's own numbers, whatever the order, image, frame or cell the atoms are given in."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import WATER, make_frames, one_structure, random_rotation

from priorbench.cli import main
from priorbench.datasets.blocks import assemble, rectangular
from priorbench.datasets.tip3p_simulation import water_topology
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.labels.flexible_tip3p import FlexibleTIP3P, FlexibleTIP3POptions
from priorbench.neighbours import Neighbours, build

KJ_PER_MOL = 0.010364269656262  # eV
COULOMB = 14.399645  # eV Å
METHANE = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.629
CELLS = {
    "cubic": np.eye(3) * 6.6,
    "triclinic": np.array([[6.6, 0.0, 0.0], [2.5, 6.4, 0.0], [-1.9, 2.8, 6.9]]),
    "near rhombohedral": np.array([[6.6, 0.0, 0.0], [3.2, 5.8, 0.0], [-0.5, 3.2, 6.2]]),
}
BY = json.dumps({"name": "flexible_tip3p"})


def labelled(frames: Frames, **options: Any) -> Frames:
    return FlexibleTIP3P(FlexibleTIP3POptions(**options)).label(frames)


def strained_waters(cell: NDArray[np.float64], seed: int = 0, per_edge: int = 2) -> NDArray[np.float64]:
    """Molecules on a grid in ``cell``, turned at random, bonds and angles out of equilibrium: (3n, 3) Å, O, H, H."""
    rng = np.random.default_rng(seed)
    grid = np.indices((per_edge,) * 3).reshape(3, -1).T / per_edge
    waters = np.concatenate([WATER @ random_rotation(rng).T + place @ cell for place in grid])
    return waters + rng.uniform(-0.05, 0.05, waters.shape)


def box(cell: NDArray[np.float64], seed: int = 0) -> Frames:
    return one_structure(strained_waters(cell, seed), cell, [8, 1, 1] * 8)


def intramolecular(water: NDArray[np.float64]) -> float:
    """Harmonic bonds and angle of one molecule (3, 3) Å, in eV."""
    arms = water[1:] - water[0]
    lengths = np.linalg.norm(arms, axis=1)
    angle = math.acos(arms[0] @ arms[1] / lengths.prod())
    bonds = 462750.4 / 2 * ((lengths / 10 - 0.09572) ** 2).sum()
    return float(bonds + 836.8 / 2 * (angle - 1.82421813418) ** 2) * KJ_PER_MOL


def intermolecular(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Charges, and Lennard-Jones between the oxygens, of two molecules (3, 3) Å, in eV."""
    charges = np.array([-0.834, 0.417, 0.417])
    distances = np.linalg.norm(first[:, None] - second, axis=-1)
    sixth = (3.1507524065751241 / distances[0, 0]) ** 6
    return float(
        COULOMB * (charges[:, None] * charges / distances).sum() + 4 * 0.635968 * KJ_PER_MOL * (sixth**2 - sixth)
    )


def dimer() -> NDArray[np.float64]:
    rng = np.random.default_rng(3)
    return np.concatenate([WATER @ random_rotation(rng).T, WATER @ random_rotation(rng).T + [0.4, 2.9, -0.5]])


def slopes(frames: Frames, coordinates: list[tuple[int, int]], step: float = 1e-4) -> NDArray[np.float64]:
    """−dE/dr of the labelled energy along each (atom, axis), by central differences, eV/Å."""
    method = FlexibleTIP3P(FlexibleTIP3POptions())
    found = []
    for coordinate in coordinates:
        energies = []
        for sign in (1, -1):
            moved = frames.positions.copy()
            moved[coordinate] += sign * step
            energies.append(method.label(replace(frames, positions=moved)).energies[0])
        found.append((energies[1] - energies[0]) / (2 * step))
    return np.array(found)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_forces_are_minus_the_gradient_of_the_energy(cell: NDArray[np.float64]) -> None:
    frames = box(cell)
    coordinates = [(0, 0), (4, 1), (8, 2), (15, 0), (23, 1)]
    forces = labelled(frames).forces[tuple(zip(*coordinates, strict=True))]
    np.testing.assert_allclose(forces, slopes(frames, coordinates), atol=2e-5)
    assert np.abs(forces).max() > 0.5


def test_an_isolated_molecule_has_its_harmonic_bonds_and_angle_and_nothing_else() -> None:
    bent = WATER + np.array([[0.0, 0.0, 0.0], [0.04, -0.02, 0.01], [-0.03, 0.05, -0.02]])
    frames = one_structure(bent, np.zeros((3, 3)), [8, 1, 1], periodic=False)
    found = labelled(frames)
    assert found.energies[0] == pytest.approx(intramolecular(bent), rel=1e-6)
    coordinates = [(atom, axis) for atom in range(3) for axis in range(3)]
    np.testing.assert_allclose(found.forces.ravel(), slopes(frames, coordinates), atol=1e-5)
    equilibrium = one_structure(WATER, np.zeros((3, 3)), [8, 1, 1], periodic=False)
    np.testing.assert_allclose(labelled(equilibrium).forces, 0, atol=2e-3)


def test_two_molecules_attract_by_their_charges_and_repel_by_their_oxygens() -> None:
    """The same in a wide skewed cell, but for the images."""
    water = dimer()
    frames = one_structure(water, np.zeros((3, 3)), [8, 1, 1] * 2, periodic=False)
    alone = labelled(replace(frames, cells=np.eye(3)[None] * 9))  # a cell that is not repeated
    expected = intramolecular(water[:3]) + intramolecular(water[3:]) + intermolecular(water[:3], water[3:])
    assert alone.energies[0] == pytest.approx(expected, abs=1e-6)
    cell = np.array([[30.0, 0, 0], [9.0, 30.0, 0], [-8.0, 11.0, 30.0]])
    periodic = labelled(one_structure(water, cell, [8, 1, 1] * 2))
    assert periodic.energies[0] == pytest.approx(expected, abs=2e-3)
    np.testing.assert_allclose(periodic.forces, alone.forces, atol=3e-3)
    assert np.abs(alone.forces).max() > 0.1


def by_openmm(positions: NDArray[np.float64], edges: NDArray[np.float64], cutoff: float) -> tuple[float, Any]:
    """Energy (eV) and forces (3n, 3) eV/Å, wholly by OpenMM, in a rectangular box with ``edges`` (3,) Å."""
    import openmm
    from openmm import app

    molecules = len(positions) // 3
    topology = water_topology(molecules)
    topology.setPeriodicBoxVectors(np.diag(edges) * 0.1)
    near = {"nonbondedCutoff": cutoff * 0.1, "switchDistance": cutoff * 0.1 - 0.15, "ewaldErrorTolerance": 1e-5}
    system = app.ForceField("tip3p.xml").createSystem(topology, app.PME, rigidWater=False, **near)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    energies = []
    for corrected in (True, False):
        next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce)).setUseDispersionCorrection(
            corrected
        )
        context.reinitialize()
        context.setPositions(positions * 0.1)
        state = context.getState(energy=True, forces=True)
        energies.append(state.getPotentialEnergy()._value)
    # OpenMM averages the correction over pairs of atoms, each with itself included.
    share = (3 * molecules + 1) / (3 * molecules + 3)
    energy = energies[1] + (energies[0] - energies[1]) * share
    return energy * KJ_PER_MOL, state.getForces(asNumpy=True)._value * (KJ_PER_MOL / 10)


def test_labels_of_a_cube_are_those_of_openmm() -> None:
    cell = np.eye(3) * 12.4
    positions = strained_waters(cell, per_edge=4)
    energy, forces = by_openmm(positions, np.diag(cell), 6.2)
    found = labelled(one_structure(positions, cell, [8, 1, 1] * 64), cutoff=6.2)
    assert found.energies[0] == pytest.approx(energy, abs=1e-6)
    np.testing.assert_allclose(found.forces, forces, atol=1e-6)


def test_labels_of_a_hexagonal_cell_are_those_of_openmm_in_two_that_make_a_rectangle() -> None:
    cell = np.array([[8.0, 0.0, 0.0], [4.0, math.sqrt(48), 0.0], [0.0, 0.0, 12.5]])
    positions = strained_waters(cell, per_edge=3)
    both = np.concatenate([positions, positions + cell[1]])
    four = np.concatenate([both, both + cell[0]])
    energy, forces = by_openmm(four, np.array([16.0, 2 * math.sqrt(48), 12.5]), 6.2)
    found = labelled(one_structure(positions, cell, [8, 1, 1] * 27), cutoff=6.2)
    assert found.energies[0] == pytest.approx(energy / 4, abs=1e-3)
    np.testing.assert_allclose(found.forces, forces[:81], atol=1e-4)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_labels_do_not_depend_on_order_image_or_frame(cell: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(1)
    positions, frames = strained_waters(cell), box(cell)
    expected = labelled(frames)
    order = rng.permutation(24)
    permuted = labelled(one_structure(positions[order], cell, np.array([8, 1, 1] * 8)[order].tolist()))
    images = positions + rng.integers(-2, 3, positions.shape) @ cell
    wrapped = labelled(replace(frames, positions=images))
    turn = random_rotation(rng)
    turned = labelled(replace(frames, positions=positions @ turn.T, cells=frames.cells @ turn.T))
    mirrored = labelled(replace(frames, positions=-positions, cells=-frames.cells))
    for found, forces in (
        (permuted, expected.forces[order]),
        (wrapped, expected.forces),
        (turned, expected.forces @ turn.T),
        (mirrored, -expected.forces),
    ):
        np.testing.assert_allclose(found.energies, expected.energies, atol=1e-8)
        np.testing.assert_allclose(found.forces, forces, atol=1e-8)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_labels_do_not_depend_on_the_cell_that_describes_the_lattice(cell: NDArray[np.float64]) -> None:
    frames = box(cell)
    expected = labelled(frames)
    skewed = np.array([[1, 4, -3], [0, 1, 2], [0, 0, 1]]) @ frames.cells[0]
    found = labelled(replace(frames, cells=skewed[None]))
    np.testing.assert_allclose(found.energies, expected.energies, atol=1e-8)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-8)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_narrow_box_has_the_labels_of_its_repeats(cell: NDArray[np.float64]) -> None:
    water = strained_waters(cell)
    twice = np.concatenate([water, water + cell[0]])
    narrow = labelled(box(cell))
    wide = labelled(one_structure(twice, cell * np.array([2, 1, 1])[:, None], [8, 1, 1] * 16))
    assert wide.energies[0] == pytest.approx(2 * narrow.energies[0], abs=1e-3)
    np.testing.assert_allclose(wide.forces, np.tile(narrow.forces, (2, 1)), atol=1e-4)


def test_boxes_of_different_size_in_one_file_are_labelled_as_if_alone() -> None:
    cells = [np.eye(3) * 6.6, np.eye(3) * 6.9, np.eye(3) * 6.6]
    block = rectangular(
        positions=np.stack([strained_waters(cell, seed) for seed, cell in enumerate(cells)]),
        forces=np.ones((3, 24, 3)),
        energies=np.zeros(3),
        cells=np.stack(cells),
        atomic_numbers=np.array([8, 1, 1] * 8, np.int16),
        groups=np.arange(3, dtype=np.int32),
    )
    together = labelled(assemble([block], {"subsystems": ["all"]}, plausible=False))
    alone = [labelled(box(cell, seed)) for seed, cell in enumerate(cells)]
    np.testing.assert_array_equal(together.energies, [frames.energies[0] for frames in alone])
    np.testing.assert_array_equal(together.forces, np.concatenate([frames.forces for frames in alone]))


def test_structures_that_are_not_intact_water_alone_are_unlabelled() -> None:
    cell = np.eye(3) * 14.0
    torn = dimer()
    torn[1] = torn[0] + (torn[1] - torn[0]) * 1.5
    structures = [(dimer(), [8, 1, 1] * 2), (torn, [8, 1, 1] * 2), (dimer(), [8, 1, 1] * 2)]
    structures.insert(1, (np.concatenate([dimer()[:3], METHANE + 6]), [8, 1, 1, 6, 1, 1, 1, 1]))
    blocks = [
        rectangular(
            positions=positions[None],
            forces=np.ones((1, len(positions), 3)),
            energies=np.ones(1),
            cells=cell[None],
            atomic_numbers=np.array(numbers, np.int16),
            groups=np.zeros(1, np.int32),
        )
        for positions, numbers in structures
    ]
    found = labelled(assemble(blocks, {"subsystems": ["all"]}, plausible=False))
    assert found.metadata["unlabelled"] == [1, 2]
    assert (found.energies == 0).tolist() == [False, True, True, False]
    assert (found.forces[found.atoms_of(1)] == 0).all()
    assert (found.forces[found.atoms_of(2)] == 0).all()
    expected = labelled(one_structure(dimer(), cell, [8, 1, 1] * 2))
    for structure in (0, 3):
        np.testing.assert_array_equal(found.forces[found.atoms_of(structure)], expected.forces)
    assert expected.metadata["unlabelled"] == []


def test_a_structure_that_is_periodic_in_some_directions_is_refused() -> None:
    frames = replace(box(CELLS["cubic"]), pbc=np.array([[True, True, False]]))
    with pytest.raises(PriorbenchError, match="structure 0 is periodic in some directions only"):
        labelled(frames)


def test_the_command_writes_the_same_structures_that_splits_and_neighbours_still_fit(tmp_path: Path) -> None:
    path, output, again = (tmp_path / f"{name}.safetensors" for name in ("frames", "labels", "again"))
    make_frames(3).save(path)
    assert main(["relabel", "--frames", str(path), "--by", BY, "--output", str(output)]) == 0
    before, after = Frames.load(path), Frames.load(output, verify=True)
    for name, array in before.arrays().items():
        assert np.array_equal(array, after.arrays()[name]) is (name not in ("energies", "forces")), name
        assert array.dtype == after.arrays()[name].dtype
    assert after.metadata["labels"] == {"name": "flexible_tip3p", "options": {"cutoff": 9.0}}
    assert after.metadata["unlabelled"] == []
    assert after.metadata["source"] == before.metadata["source"]
    assert after.metadata["hash"] != before.metadata["hash"] == after.metadata["relabels"]
    build(path, 3.0, tmp_path / "neighbours.safetensors")
    Neighbours.load(tmp_path / "neighbours.safetensors", after.metadata["relabels"], 3.0)
    assert main(["relabel", "--frames", str(output), "--by", BY, "--output", str(again)]) == 0
    assert again.read_bytes() == output.read_bytes()


def test_what_cannot_be_labelled_ends_with_one_line_and_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = tmp_path / "frames.safetensors", tmp_path / "labels.safetensors"
    one_structure(METHANE, np.zeros((3, 3)), [6, 1, 1, 1, 1], periodic=False).save(path)
    faults = {
        BY: f"{path}: none of the 1 structures is made of intact water molecules alone (structure 0 is CH4)",
        '{"name": "spce"}': "--by: unknown labels 'spce'; known are flexible_tip3p",
        '{"name": "flexible_tip3p", "cutoff": 3}': "--by.cutoff: Input should be greater than or equal to 6",
        '{"name": "flexible_tip3p", "cut": 8}': "--by.cut: unknown key; known are cutoff",
        "{}": "--by: has no name",
    }
    for by, message in faults.items():
        assert main(["relabel", "--frames", str(path), "--by", by, "--output", str(output)]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"priorbench relabel: {message}")
        assert error.count("\n") == 1
        assert not output.exists()


def test_validating_options_imports_nothing_heavy() -> None:
    script = (
        "import sys; from priorbench.options import resolve_options; "
        "print(resolve_options('labels', 'flexible_tip3p', {}, 'x'), {'torch', 'openmm', 'ase'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "{'cutoff': 9.0} set()\n"
