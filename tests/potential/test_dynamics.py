"""Dynamics with trained networks: conserved where it should be, cut and said where it breaks, in the table as it is."""

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes

from priorbench.cli import main
from priorbench.config_sections import Dynamics
from priorbench.frames import Frames
from priorbench.io import read_json, write_json
from priorbench.potential.dynamics import dynamics, reference_of, rigid_pairs, structure_of
from priorbench.potential.dynamics_table import COLUMNS, row_of
from priorbench.training.model import load_model, save_model
from priorbench.training.run import run
from tests.training.conftest import TEST, spec, write_inputs

SHORT = {"nve_ps": 0.04, "nvt_ps": 0.03}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def trained(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")

    def train(architecture):
        place = folder / architecture
        if not (place / "run.json").exists():
            backbone = {"name": "net", "architecture": architecture, "cutoff": 3.4, "layers": 1, "width": 8}
            run(spec(backbone=backbone), inputs, 1, place)
        return place / "model.safetensors"

    return train


def simulate(model, inputs, folder, **options):
    output = folder / "record.json"
    dynamics(model, options.pop("trials", None), inputs.frames, inputs.split, {**SHORT, **options}, 1, output)
    return read_json(output)


@pytest.fixture(scope="module")
def record(trained, inputs, tmp_path_factory):
    """Dynamics of an energy-centric network."""
    return simulate(trained("egnn"), inputs, tmp_path_factory.mktemp("record"))


def test_a_conservative_network_conserves_the_energy_with_rigid_molecules(record):
    assert record["rigid"]
    assert record["conservative"]
    assert record["structure"] in TEST
    assert record["nve"]["ps"] == pytest.approx(0.04)
    assert abs(record["nve"]["drift_mev_per_atom_per_ps"]) < 0.05
    assert record["nvt"]["frames"] > 0


def test_the_same_dynamics_twice(record, trained, inputs, tmp_path):
    again = simulate(trained("egnn"), inputs, tmp_path)
    assert again | {"seconds": 0} == record | {"seconds": 0}


def test_a_force_centric_network_is_said_to_be_none(trained, inputs, tmp_path):
    record = simulate(trained("gns"), inputs, tmp_path)
    assert record["conservative"] is False
    assert "heating_K_per_ps" in record["nve"]


def test_a_trajectory_that_breaks_ends_there_and_says_how(trained, inputs, tmp_path, monkeypatch):
    from priorbench.potential.calculator import PotentialCalculator

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        Calculator.calculate(self, atoms, properties, system_changes)
        r = self.atoms.positions
        self.results = {"energy": 0.0, "free_energy": 0.0, "forces": 20.0 * (r[0] - r)}

    monkeypatch.setattr(PotentialCalculator, "calculate", calculate)
    record = simulate(trained("egnn"), inputs, tmp_path, nvt_ps=5.0)
    assert record["nvt"]["broken"]
    assert record["nvt"]["ps"] < 1.0
    row = row_of(record)
    assert row["stability_ps"] == record["nvt"]["ps"]
    assert row["broken"] == record["nvt"]["broken"]


def test_a_diverged_network_and_a_trial_not_chosen_run_nothing(trained, inputs, tmp_path):
    state, metadata = load_model(trained("egnn"))
    save_model(tmp_path / "model.safetensors", state, {**metadata, "status": "diverged"})
    assert simulate(tmp_path / "model.safetensors", inputs, tmp_path)["status"] == "diverged"
    header, of = "dataset,backbone,strategy,seed,trial,chosen", "boxes,net,scratch,0"
    for chosen, status in ((0, "not chosen"), (1, "completed")):
        (tmp_path / "trials.csv").write_text(f"{header}\n{of},1,{chosen}\n{of},2,{1 - chosen}\n")
        assert simulate(trained("egnn"), inputs, tmp_path, trials=tmp_path / "trials.csv")["status"] == status


def test_molecules_start_in_one_piece_and_are_rigid_as_wholes(inputs):
    frames = Frames.load(inputs.frames)
    atoms, pairs = structure_of(frames, 0), rigid_pairs(frames, 0)
    assert len(pairs) == len(atoms)
    assert np.linalg.norm(atoms.positions[pairs[:, 1]] - atoms.positions[pairs[:, 0]], axis=1).max() < 2


def test_the_reference_is_the_data_itself(inputs):
    frames = Frames.load(inputs.frames)
    reference = reference_of(frames, 0)
    assert reference.frames == len(frames)
    assert set(reference.errors(reference).values()) == {0.0}


@pytest.mark.parametrize("key", ["timestep_fs", "nvt_ps", "temperature"])
def test_impossible_settings_are_refused(key):
    with pytest.raises(ValueError, match="greater than 0"):
        Dynamics(**{key: 0})


def test_a_record_of_something_else_is_refused(tmp_path, capsys):
    write_json(tmp_path / "other.json", {"status": "completed"})
    names = ("--records", "other.json"), ("--table", "d.csv"), ("--distributions", "r.csv")
    arguments = [part for name, file in names for part in (name, str(tmp_path / file))]
    assert main(["collect-dynamics", *arguments]) == 1
    assert "run `priorbench dynamics` again" in capsys.readouterr().err


def test_rows_hold_what_is_in_the_record():
    record = {"dataset": "d", "backbone": "b", "strategy": "s", "seed": 0, "status": "diverged"}
    row = row_of(record)
    assert set(row) <= set(COLUMNS)
    assert row["stability_ps"] is None


@pytest.mark.parametrize(("text", "message"), [('{"nvt": 3}', "--spec: "), ("{", "not a JSON object")])
def test_settings_that_are_none_are_one_line(text, message, tmp_path, capsys):
    files = ("--model", "--frames", "--split", "--output")
    arguments = [part for name in files for part in (name, str(tmp_path / "none"))]
    assert main(["dynamics", *arguments, "--spec", text]) == 1
    assert message in capsys.readouterr().err
