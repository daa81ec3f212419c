"""The calculator: the numbers of the network, in the units of ASE, with a word where it is asked beyond its data."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from priorbench import load_potential
from priorbench.errors import PriorbenchError
from priorbench.evaluation.errors import predict
from priorbench.frames import Frames
from priorbench.potential.calculator import DomainWarning
from priorbench.registry import load
from priorbench.training.data import Source
from priorbench.training.labels import Labels
from priorbench.training.model import load_model, save_model
from priorbench.training.run import run
from priorbench.training.store import Store
from tests.networks import every_network
from tests.training.conftest import TEST, spec, write_inputs

EGNN = {"name": "e", "architecture": "egnn", "cutoff": 3.4, "layers": 2, "width": 16}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def trained(inputs, tmp_path):
    def train(backbone, **options):
        run(spec(backbone=backbone, **options), inputs, 1, tmp_path / "run")
        return tmp_path / "run" / "model.safetensors"

    return train


def structure(inputs, which=TEST[0]) -> Atoms:
    frames = Frames.load(inputs.frames)
    atoms = frames.atoms_of(which)
    return Atoms(
        frames.atomic_numbers[atoms],
        np.array(frames.positions[atoms]),
        cell=np.array(frames.cells[which]),
        pbc=np.array(frames.pbc[which]),
    )


def quiet(path, **options):
    return load_potential(path, outside="ignore", **options)


@every_network
def test_energies_and_forces_are_those_that_were_tested(trained, inputs, backbone_of, spec):
    path = trained(spec)
    state, metadata = load_model(path)
    source = Source.load(inputs, spec["cutoff"])
    labels, chosen = Labels.from_json(metadata["labels"]), np.array(TEST[:1])
    store = Store.build(source.frames, source.neighbours, chosen, labels)
    energies, forces = predict(backbone_of(state, metadata), store, labels, source.frames, chosen)
    atoms = structure(inputs)
    atoms.calc = quiet(path)
    assert atoms.get_potential_energy() == pytest.approx(energies[0], rel=1e-7)
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-5 * np.abs(forces).max())


@pytest.fixture
def backbone_of():
    from priorbench.training.model import build, transfer

    def make(state, metadata):
        model = build(metadata["spec"]["backbone"], 0)
        transfer(model, state, "here")
        return model

    return make


@pytest.mark.parametrize("architecture", ["egnn", "painn"])
def test_forces_and_stress_are_derivatives_of_the_energy(trained, inputs, architecture):
    atoms = structure(inputs)
    atoms.set_cell(atoms.cell.array + np.array([[0, 0.3, 0], [0, 0, 0], [0.2, 0, 0]]), scale_atoms=True)
    atoms.calc = quiet(trained({**EGNN, "architecture": architecture}), dtype="float64")
    stress, forces = atoms.get_stress(), atoms.get_forces()
    np.testing.assert_allclose(stress, calculate_numerical_stress(atoms, eps=1e-5), atol=1e-7)
    # Small steps: the slope of PaiNN's forces jumps where a pair crosses the cutoff.
    np.testing.assert_allclose(forces[:3], calculate_numerical_forces(atoms, eps=1e-5, iatoms=range(3)), atol=1e-6)
    assert np.abs(stress).max() > 1e-4
    again = atoms.calc.get_property("forces", atoms)
    np.testing.assert_allclose(atoms.get_forces(), again)


def test_forces_that_come_with_the_stress_are_those_without(trained, inputs):
    atoms = structure(inputs)
    atoms.calc = quiet(trained(EGNN), dtype="float64")
    alone = atoms.get_forces()
    atoms.calc.reset()
    atoms.get_stress()
    np.testing.assert_allclose(atoms.get_forces(), alone, atol=1e-10)


def test_a_force_centric_potential_has_no_stress(trained, inputs):
    atoms = structure(inputs)
    atoms.calc = quiet(trained({**EGNN, "architecture": "gns"}))
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()
    assert not atoms.calc.conservative


def test_lists_are_searched_only_when_atoms_have_moved(trained, inputs):
    atoms, fresh = structure(inputs), structure(inputs)
    path = trained(EGNN)
    atoms.calc = quiet(path, skin=0.6)
    atoms.get_forces()
    rng = np.random.default_rng(0)
    searches = []
    for _ in range(12):
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        fresh.positions, fresh.calc = atoms.positions, quiet(path)
        np.testing.assert_allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-5)
        searches.append(atoms.calc.edges.searches)
    assert 1 < searches[-1] < 9


@pytest.mark.parametrize("change", ["cell", "pbc", "wrapped", "numbers", "fewer"])
def test_what_makes_a_list_wrong_renews_it(trained, inputs, change):
    atoms, path = structure(inputs), trained(EGNN)
    atoms.calc = quiet(path)
    atoms.get_forces()
    if change == "cell":
        atoms.cell[0, 0] += 0.4
    elif change == "pbc":
        atoms.pbc = (True, False, True)
    elif change == "wrapped":
        atoms.positions[5] += 3 * atoms.cell[0] - atoms.cell[2]
    elif change == "numbers":
        atoms.numbers = atoms.numbers[::-1].copy()
    else:
        del atoms[3:6]
    fresh = atoms.copy()
    fresh.calc = quiet(path)
    np.testing.assert_allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-6)
    assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy())


def test_an_atom_far_outside_the_cell_loses_no_precision(trained, inputs):
    atoms, far = structure(inputs), structure(inputs)
    path = trained(EGNN)
    far.positions += 5000 * far.cell[0]
    atoms.calc, far.calc = quiet(path), quiet(path)
    np.testing.assert_allclose(far.get_forces(), atoms.get_forces(), atol=1e-4 * np.abs(atoms.get_forces()).max())


def test_an_unknown_element_is_refused_by_name(trained, inputs):
    atoms = structure(inputs)
    atoms.numbers[0] = 11
    atoms.calc = load_potential(trained(EGNN))
    with pytest.raises(PriorbenchError, match="trained on H, O and knows nothing of Na"):
        atoms.get_potential_energy()


def test_atoms_closer_than_in_training_are_said_once_until_they_part(trained, inputs):
    atoms = structure(inputs, 0)
    path = trained(EGNN)
    atoms.calc = load_potential(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.get_potential_energy()
    assert atoms.calc.outside is None
    home = atoms.positions.copy()
    for _ in range(2):
        atoms.positions[1] = 0.4 * home[1] + 0.6 * home[0]
        with pytest.warns(DomainWarning, match=r"atoms 0 and 1 \(H, O\) are 0\.\d\d Å apart, in training never closer"):
            atoms.get_potential_energy()
        assert atoms.calc.outside
        atoms.positions[1] = 0.41 * home[1] + 0.59 * home[0]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            atoms.get_potential_energy()
        atoms.positions[1] = home[1]
        atoms.get_potential_energy()
        assert atoms.calc.outside is None
    atoms.positions[1] = 0.4 * home[1] + 0.6 * home[0]
    atoms.calc = load_potential(path, outside="raise")
    with pytest.raises(PriorbenchError, match="the prediction is a guess"):
        atoms.get_potential_energy()


def test_positions_that_are_no_numbers_are_refused(trained, inputs):
    atoms = structure(inputs)
    atoms.positions[0] = np.nan
    atoms.calc = quiet(trained(EGNN))
    with pytest.raises(PriorbenchError, match="not a finite number"):
        atoms.get_forces()


def test_the_domain_is_that_of_the_training_side_alone(trained, inputs):
    _, metadata = load_model(trained(EGNN))
    domain, frames = metadata["domain"], Frames.load(inputs.frames)
    assert domain["elements"] == [1, 8]
    assert domain["rigid"] is True
    assert domain["periodic"] is True
    from tests.training.conftest import TRAIN

    assert domain["structures"] == len(TRAIN)
    shortest = min(
        d for s in TRAIN for d in structure(inputs, s).get_all_distances(mic=True)[np.triu_indices(frames.sizes[s], 1)]
    )
    assert min(domain["closest"].values()) == pytest.approx(shortest, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "diverged"}, "diverged"),
        ({"domain": None}, "train it again"),
        ({"spec": {"stage": "pretrain"}}, "finetune it first"),
    ],
)
def test_what_is_no_potential_is_refused(trained, change, message, tmp_path):
    state, metadata = load_model(trained(EGNN))
    for key, value in change.items():
        if value is None:
            del metadata[key]
        elif isinstance(value, dict):
            metadata[key] = {**metadata[key], **value}
        else:
            metadata[key] = value
    save_model(tmp_path / "other.safetensors", state, metadata)
    with pytest.raises(PriorbenchError, match=message):
        load_potential(tmp_path / "other.safetensors")


def test_a_network_whose_weights_meant_another_function_is_refused(trained, monkeypatch):
    """PaiNN's envelope changed, and neither options nor weights tell."""
    path = trained(EGNN)
    monkeypatch.setattr(load("backbone", "egnn"), "form", 99)
    with pytest.raises(PriorbenchError, match="another function in the egnn of now; train it again"):
        load_potential(path)


@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"skin": -1}, {"outside": "maybe"}])
def test_impossible_options_are_refused(trained, options):
    with pytest.raises(PriorbenchError, match=next(iter(options))):
        load_potential(trained(EGNN), **options)


def test_importing_the_package_imports_no_torch():
    loaded = "'torch' in sys.modules"
    code = f"import sys, priorbench; assert not {loaded}; priorbench.load_potential; assert {loaded}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_double_precision_is_asked_for_in_words(trained, inputs):
    atoms = structure(inputs)
    path = trained(EGNN)
    atoms.calc = quiet(path, dtype="float64")
    single = structure(inputs)
    single.calc = quiet(path)
    assert atoms.calc.dtype == torch.float64
    np.testing.assert_allclose(single.get_forces(), atoms.get_forces(), atol=1e-4 * np.abs(atoms.get_forces()).max())
