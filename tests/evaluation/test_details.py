"""Where networks err: that the breakdown agrees with the whole, and that nothing is read of trials that lost."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from priorbench.cli import main
from priorbench.evaluation.details import COMPONENTS, Side, compare
from priorbench.evaluation.details_table import COLUMNS, PARITY_COLUMNS, collect_details
from priorbench.evaluation.molecular import Waters
from priorbench.frames import Frames
from priorbench.io import read_json, write_rows
from priorbench.training.data import Inputs, Source
from priorbench.training.labels import Labels
from priorbench.training.model import load_model, save_model
from priorbench.training.run import run
from tests.conftest import make_frames, one_structure
from tests.networks import CUTOFF
from tests.training.conftest import TEST, TRAIN, from_mask, spec, write_inputs

Rows = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def cell(tmp_path_factory) -> tuple[Inputs, dict[str, Path]]:
    """Inputs, and a network from scratch, its second trial and one that was pretrained."""
    folder = tmp_path_factory.mktemp("cell")
    inputs = write_inputs(folder)
    run(spec("pretrain"), inputs, 1, folder / "pretrained")
    parent = folder / "pretrained/model.safetensors"
    run(spec(trial=1, trials=2), inputs, 1, folder / "scratch")
    run(spec(trial=2, trials=2, training={**spec()["training"], "learning_rate": 5e-3}), inputs, 1, folder / "second")
    run(from_mask(), replace(inputs, parent=parent), 1, folder / "mask")
    return inputs, {name: folder / name / "model.safetensors" for name in ("pretrained", "scratch", "second", "mask")}


def trials(folder: Path, chosen: dict[tuple[str, int], int]) -> Path:
    """A ``trials.csv`` of seed 0; ``chosen`` (1 or 0) by strategy and trial."""
    keys = ("dataset", "backbone", "strategy", "seed", "trial", "chosen")
    rows = [dict(zip(keys, ("boxes", "small", s, 0, t, taken), strict=True)) for (s, t), taken in chosen.items()]
    write_rows(folder / "trials.csv", rows)
    return folder / "trials.csv"


def details(inputs: Inputs, trials_csv: Path, output: Path, *models: Path) -> int:
    files = ["--frames", inputs.frames, "--neighbours", inputs.neighbours, "--splits", inputs.split]
    words = ("details", "--models", *models, "--trials-csv", trials_csv, *files, "--output", output)
    return main([str(word) for word in words])


@pytest.fixture
def written(cell, tmp_path) -> list[dict[str, Any]]:
    """The runs in the file of all networks, of which the second trial lost."""
    inputs, models = cell
    trials_csv = trials(tmp_path, {("scratch", 1): 1, ("scratch", 2): 0, ("mask", 1): 1})
    assert details(inputs, trials_csv, tmp_path / "cell.json", *(models[n] for n in ("second", "scratch", "mask"))) == 0
    found: list[dict[str, Any]] = read_json(tmp_path / "cell.json")["runs"]
    return found


def by_key(record: dict[str, Any]) -> Rows:
    return {(row["kind"], row["key"]): row for row in record["rows"]}


def kind(rows: Rows, name: str) -> dict[str, dict[str, Any]]:
    return {key: row for (kind, key), row in rows.items() if kind == name}


def test_only_chosen_trials_are_tested(cell, written, tmp_path):
    assert [(record["strategy"], record["trial"]) for record in written] == [("mask", 1), ("scratch", 1)]
    inputs, models = cell
    trials_csv = trials(tmp_path, {("scratch", 1): 0, ("scratch", 2): 1})
    assert details(inputs, trials_csv, tmp_path / "other.json", models["scratch"], models["second"]) == 0
    (other,) = read_json(tmp_path / "other.json")["runs"]
    assert other["trial"] == 2
    assert other["rows"] != written[1]["rows"]


def test_elements_average_to_the_test_error(cell, written):
    _, models = cell
    for record in written:
        test = read_json(models[record["strategy"]].with_name("test.json"))
        elements = kind(by_key(record), "element")
        assert {key: row["count"] for key, row in elements.items()} == {"H": 32, "O": 16}
        counts = [row["count"] for row in elements.values()]
        squares = np.average([row["rmse"] ** 2 for row in elements.values()], weights=counts)
        absolute = np.average([row["mae"] for row in elements.values()], weights=counts)
        assert np.sqrt(squares) == pytest.approx(test["force_rmse"], rel=1e-5)
        assert absolute == pytest.approx(test["force_mae"], rel=1e-5)


def test_hydrogen_bonds_are_those_that_are_counted(cell, written):
    """All atoms are water here: the groups hold every molecule once, and their squares average to the whole."""
    inputs, models = cell
    waters = Waters.of(Frames.load(inputs.frames), np.array(TEST))
    numbers, molecules = np.unique(waters.targets["hydrogen_bonds"].astype(int), return_counts=True)
    bonds = kind(by_key(written[1]), "hydrogen_bonds")
    assert len(numbers) > 1
    assert {key: row["count"] for key, row in bonds.items()} == {
        str(n): 3 * m for n, m in zip(numbers, molecules, strict=True)
    }
    total = sum(row["count"] * row["rmse"] ** 2 for row in bonds.values()) / 48
    test = read_json(models["scratch"].with_name("test.json"))
    assert np.sqrt(total) == pytest.approx(test["force_rmse"], rel=1e-5)


def test_energies_and_forces_of_the_sample_are_the_same_atoms_for_every_strategy(cell, written):
    inputs, models = cell
    frames = Frames.load(inputs.frames)
    mask, scratch = (record["parity"] for record in written)
    for quantity in ("force", "energy"):
        assert mask[quantity]["reference"] == scratch[quantity]["reference"]
        assert mask[quantity]["predicted"] != scratch[quantity]["predicted"]
    labels = Labels.fit(frames, np.array(TRAIN))
    expected = (frames.energies[TEST] - labels.composition_energies(frames, np.array(TEST))) / 24
    np.testing.assert_allclose(scratch["energy"]["reference"], expected, atol=1e-7)
    test = read_json(models["scratch"].with_name("test.json"))
    for quantity, unit in (("energy", "energy_rmse"), ("force", "force_rmse")):
        errors = np.subtract(scratch[quantity]["predicted"], scratch[quantity]["reference"])
        assert 1000 * np.sqrt(np.mean(errors**2)) == pytest.approx(test[unit], rel=1e-3)


def side_of(folder: Path, frames: Frames) -> tuple[Side, Labels]:
    """Its test side, structures 7 and 8."""
    inputs = write_inputs(folder, frames)
    source = Source.load(inputs, CUTOFF)
    labels = Labels.fit(source.frames, np.array(TRAIN))
    return Side.of(source, inputs.split, labels, "cpu"), labels


def test_an_error_is_reported_where_it_was_made(tmp_path):
    frames = make_frames(9)
    side, labels = side_of(tmp_path, frames)
    atoms = slice(frames.offsets[7], frames.offsets[9])
    true, masses = frames.forces[atoms], np.where(frames.atomic_numbers[atoms] == 8, 15.999, 1.008)[:, None]
    push = masses * np.array([0.01, 0, 0])
    rows = by_key(compare(frames.energies[[7, 8]], true + push, labels, side))
    parts = kind(rows, "part")
    assert parts["translation"]["rmse"] == pytest.approx(1000 * np.sqrt(np.mean(push**2)))
    assert parts["translation"]["mae"] == pytest.approx(1000 * np.mean(push))
    assert max(parts[name]["rmse"] for name in ("rotation", "internal")) < 1e-6
    assert kind(rows, "element")["O"]["rmse"] == pytest.approx(159.99 / np.sqrt(3))


def test_samples_are_small_and_whole_atoms(tmp_path):
    side, labels = side_of(tmp_path, make_frames(9, side=5))
    forces = np.zeros((2 * 375, 3))
    found = compare(np.zeros(2), forces, labels, side)["parity"]
    assert len(found["force"]["reference"]) == 3 * (COMPONENTS // 3)
    assert len(found["energy"]["reference"]) == 2
    assert len(np.unique(side.sample)) == len(side.sample)


def test_a_structure_without_water_has_parts_but_no_hydrogen_bonds(tmp_path):
    methane = np.array(
        [[0, 0, 0], [0.63, 0.63, 0.63], [-0.63, -0.63, 0.63], [-0.63, 0.63, -0.63], [0.63, -0.63, -0.63]]
    )
    one = one_structure(methane, np.zeros((3, 3)), [6, 1, 1, 1, 1], periodic=False)
    rng = np.random.default_rng(0)
    repeated = {
        name: np.concatenate([getattr(one, name)] * 9)
        for name in ("cells", "pbc", "atomic_numbers", "subsystems", "official", "molecules", "bonds")
    }
    frames = replace(
        one,
        **repeated,
        positions=np.concatenate([methane + 0.01 * rng.normal(size=(5, 3)) for _ in range(9)]),
        forces=rng.normal(size=(45, 3)),
        energies=rng.normal(size=9),
        offsets=5 * np.arange(10),
        bond_offsets=4 * np.arange(10),
        groups=np.arange(9, dtype=np.int32),
    )
    side, labels = side_of(tmp_path, frames)
    rows = by_key(compare(np.zeros(2), np.zeros((10, 3)), labels, side))
    assert set(kind(rows, "element")) == {"H", "C"}
    assert {row["count"] for row in kind(rows, "part").values()} == {10}
    assert not kind(rows, "hydrogen_bonds")


def test_atoms_outside_molecules_are_counted(tmp_path):
    frames = make_frames(9)
    molecules = frames.molecules.copy()
    molecules[frames.offsets[7] : frames.offsets[7] + 3] = -1
    side, labels = side_of(tmp_path, replace(frames, molecules=molecules))
    assert side.left_out() == {
        "structures": 2, "molecules": 15, "atoms_in_no_molecule": 3, "structures_with_such_atoms": 1,
    }  # fmt: skip
    rows = by_key(compare(np.zeros(2), np.zeros((48, 3)), labels, side))
    assert {row["count"] for row in kind(rows, "part").values()} == {45}
    assert sum(row["count"] for row in kind(rows, "hydrogen_bonds").values()) == 45
    assert sum(row["count"] for row in kind(rows, "element").values()) == 48


def test_a_diverged_run_says_so_and_has_no_rows(cell, tmp_path):
    inputs, models = cell
    state, metadata = load_model(models["mask"])
    save_model(tmp_path / "model.safetensors", state, {**metadata, "status": "diverged"})
    assert (
        details(inputs, trials(tmp_path, {("mask", 1): 1}), tmp_path / "cell.json", tmp_path / "model.safetensors") == 0
    )
    (record,) = read_json(tmp_path / "cell.json")["runs"]
    assert record["status"] == "diverged"
    assert record["rows"] == []
    collect_details([tmp_path / "cell.json"], tmp_path / "details.csv", tmp_path / "parity.csv")
    assert (tmp_path / "details.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert (tmp_path / "parity.csv").read_text() == ",".join(PARITY_COLUMNS) + "\n"


def test_a_network_that_predicts_no_number_has_no_rows(cell, tmp_path):
    inputs, models = cell
    state, metadata = load_model(models["mask"])
    broken = {name: values * np.inf if values.is_floating_point() else values for name, values in state.items()}
    save_model(tmp_path / "model.safetensors", broken, metadata)
    assert (
        details(inputs, trials(tmp_path, {("mask", 1): 1}), tmp_path / "cell.json", tmp_path / "model.safetensors") == 0
    )
    (record,) = read_json(tmp_path / "cell.json")["runs"]
    assert (record["status"], record["rows"]) == ("not finite", [])


def test_tables_have_a_row_for_each_and_the_order_of_files_does_not_matter(written, tmp_path):
    first, second = tmp_path / "cell.json", tmp_path / "another.json"
    second.write_text(json.dumps({**read_json(first), "dataset": "a"}))
    for name, paths in (("x", [first, second]), ("y", [second, first])):
        collect_details(paths, tmp_path / f"{name}.csv", tmp_path / f"{name}-parity.csv")
    assert (tmp_path / "x.csv").read_bytes() == (tmp_path / "y.csv").read_bytes()
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * sum(len(record["rows"]) for record in written)
    assert [row["dataset"] for row in rows] == sorted(row["dataset"] for row in rows)
    with (tmp_path / "x-parity.csv").open(newline="") as file:
        parity = list(csv.DictReader(file))
    assert len(parity) == 2 * 2 * (48 * 3 + 2)
    assert tuple(parity[0]) == PARITY_COLUMNS


def test_faults_are_one_line(cell, written, tmp_path, capsys):
    inputs, models = cell
    scratch = {("scratch", 1): 1}
    for chosen, given, named in (
        (scratch, models["pretrained"], "a pretrained network predicts no energies"),
        (scratch, models["second"], "trial 1 of scratch, seed 0 is chosen, but no model is given"),
    ):
        assert details(inputs, trials(tmp_path, chosen), tmp_path / "out.json", given) == 1
        assert named in capsys.readouterr().err
    other = tmp_path / "split.json"
    other.write_text(inputs.split.read_text() + " ")
    assert (
        details(replace(inputs, split=other), trials(tmp_path, scratch), tmp_path / "out.json", models["scratch"]) == 1
    )
    assert "other frames or another split" in capsys.readouterr().err
    tables = ["--details-csv", str(tmp_path / "d.csv"), "--parity-csv", str(tmp_path / "p.csv")]
    twice = [str(tmp_path / "cell.json")] * 2
    assert main(["collect-details", "--details", *twice, *tables]) == 1
    assert "boxes/small/mask/0 is in" in capsys.readouterr().err
