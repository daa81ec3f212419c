"""What is read off frozen features: geometry of water, linear probes, similarity, and the tables of them."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from priorbench.cli import main
from priorbench.evaluation import probes
from priorbench.evaluation.molecular import Waters
from priorbench.evaluation.probe_table import COLUMNS
from priorbench.evaluation.probes import centred, linear_cka, probe_scores, spaced
from priorbench.frames import Frames
from priorbench.io import read_json, write_json
from priorbench.training.data import Inputs
from priorbench.training.run import run
from tests.conftest import make_frames, make_store, one_structure
from tests.networks import CUTOFF, network
from tests.training.conftest import from_mask, spec, write_inputs

LENGTHS, ANGLE = (0.95, 1.01), 104.0  # Å, degrees
BOX = 12.0  # Å


def water(towards: np.ndarray, tilt: float = 0.0) -> np.ndarray:
    """O, H, H at the origin; the first O–H bond is ``tilt`` degrees off the direction ``towards``."""
    along = towards / np.linalg.norm(towards)
    aside = np.cross(along, [0.0, 0.0, 1.0])
    angles = np.radians([tilt, tilt + ANGLE])
    bonds = [r * (math.cos(a) * along + math.sin(a) * aside) for r, a in zip(LENGTHS, angles, strict=True)]
    return np.array([np.zeros(3), *bonds])


def dimer(distance: float = 2.8, tilt: float = 0.0, order: tuple[int, ...] = (0, 1, 2, 3, 4, 5)) -> Frames:
    """A donor just inside one face of the box and its acceptor, whose hydrogens point away, across that face."""
    x = np.array([1.0, 0.0, 0.0])
    acceptor = np.array([[0, 0, 0], [0.6, 0.75, 0], [0.6, -0.75, 0]])
    positions = np.concatenate([water(x, tilt), acceptor + distance * x]) + np.array([BOX - 0.5, 3.0, 3.0])
    numbers = np.array([8, 1, 1, 8, 1, 1])
    return one_structure((positions % BOX)[list(order)], np.eye(3) * BOX, numbers[list(order)].tolist())


def measured(frames: Frames) -> Waters:
    return Waters.of(frames, np.arange(len(frames)))


def test_lengths_and_angles_are_measured_across_the_boundary():
    waters = measured(dimer())
    assert waters.oxygens.tolist() == [0, 3]
    side = math.hypot(0.6, 0.75)
    np.testing.assert_allclose(waters.targets["oh_length"], [np.mean(LENGTHS), side], rtol=1e-6)
    np.testing.assert_allclose(waters.targets["hoh_angle"], [ANGLE, 2 * math.degrees(math.atan(0.75 / 0.6))], rtol=1e-6)


@pytest.mark.parametrize(
    ("distance", "tilt", "bonds"),
    [(2.8, 0, 1), (3.45, 0, 1), (3.55, 0, 0), (2.8, 28, 1), (2.8, 32, 0), (2.8, 180, 0)],
)
def test_a_hydrogen_bond_counts_for_both_within_distance_and_angle(distance, tilt, bonds):
    assert measured(dimer(distance, tilt)).targets["hydrogen_bonds"].tolist() == [bonds, bonds]


def test_a_molecule_in_the_middle_of_a_chain_donates_and_accepts():
    x = np.array([1.0, 0.0, 0.0])
    positions = np.concatenate([water(x) + i * 2.9 * x for i in range(3)]) + np.array([2.0, 5.0, 5.0])
    frames = one_structure(positions, np.eye(3) * 20, [8, 1, 1] * 3)
    assert measured(frames).targets["hydrogen_bonds"].tolist() == [1, 2, 1]
    ring = one_structure(positions, np.diag([8.7, 20, 20]), [8, 1, 1] * 3)
    assert measured(ring).targets["hydrogen_bonds"].tolist() == [2, 2, 2]
    free = one_structure(positions, np.zeros((3, 3)), [8, 1, 1] * 3, periodic=False)
    assert measured(free).targets["hydrogen_bonds"].tolist() == [1, 2, 1]


def test_the_order_of_atoms_does_not_matter():
    waters = measured(dimer(order=(5, 1, 3, 2, 0, 4)))
    assert waters.oxygens.tolist() == [2, 4]
    assert waters.targets["oh_length"][1] == pytest.approx(np.mean(LENGTHS))
    assert waters.targets["hydrogen_bonds"].tolist() == [1, 1]


def test_other_molecules_and_broken_ones_are_no_water():
    hydroxide, methane = water(np.array([1.0, 0, 0]))[:2], np.eye(3)[[0, 0, 1, 2, 0]] * 1.09
    methane[0], methane[4] = 0, [-0.63, -0.63, -0.63]
    positions = np.concatenate([hydroxide + 2, methane + 6, water(np.array([1.0, 0, 0])) + 10])
    frames = one_structure(positions, np.eye(3) * 15, [8, 1, 6, 1, 1, 1, 1, 8, 1, 1])
    assert measured(frames).oxygens.tolist() == [7]


def test_places_of_oxygens_count_over_the_structures_taken():
    frames = make_frames(4)
    waters = Waters.of(frames, np.array([1, 3]))
    assert len(waters) == 16
    assert waters.oxygens.tolist() == list(range(0, 48, 3))
    both = [Waters.of(frames, np.array([s])).targets["hydrogen_bonds"] for s in (1, 3)]
    np.testing.assert_array_equal(waters.targets["hydrogen_bonds"], np.concatenate(both))


def sides(features: int, rows: int = 300) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(rows, features, generator=generator, dtype=torch.float64)
        for name in ("train", "validation", "test")
    }


def test_a_target_that_is_linear_in_the_features_is_found_whatever_their_scale():
    x = sides(10)
    y = {name: torch.stack([v @ torch.arange(10.0).double() + 7, 1e-3 * v[:, 0]], 1) for name, v in x.items()}
    scaled = {
        name: torch.cat([v * torch.logspace(-3, 3, 10), torch.full_like(v[:, :1], 5)], 1) for name, v in x.items()
    }
    assert min(probe_scores(scaled, y)) > 1 - 1e-9


def test_noise_tells_nothing_and_the_ridge_keeps_many_features_from_overfitting():
    x, y = sides(80, rows=100), sides(1, rows=100)
    (score,) = probe_scores(x, y)
    assert -0.3 < score < 0.1
    plain = torch.linalg.lstsq(x["train"], y["train"]).solution
    assert score > float(probes.r_squared(y["test"], x["test"] @ plain)) + 0.5


def test_r_squared_is_judged_on_the_test_side():
    x = sides(3)
    y = {name: v[:, :1].clone() for name, v in x.items()}
    y["test"] = -y["test"]
    assert probe_scores(x, y)[0] == pytest.approx(-3, abs=0.1)


def test_a_molecule_is_probed_by_the_features_of_its_oxygen(tmp_path):
    rng, frames = np.random.default_rng(0), flexible(12)
    features, parts = {}, {}
    for i, name in enumerate(("train", "validation", "test")):
        chosen = np.arange(4 * i, 4 * i + 4)
        waters = Waters.of(frames, chosen)
        values = rng.normal(size=(4 * 24, 2))
        values[::3, 0] = waters.targets["oh_length"]
        features[name], parts[name] = torch.from_numpy(values), probes.Side(make_store(frames, tmp_path), waters)
    scores = probes._scores(features, parts, {"oh_length": True, "hoh_angle": True, "hydrogen_bonds": False})
    assert scores["oh_length"] > 1 - 1e-9
    assert scores["hoh_angle"] < 0.5
    assert scores["hydrogen_bonds"] is None


def test_similarity_does_not_change_with_rotation_scale_or_offset():
    rng = np.random.default_rng(0)
    x, other = (torch.from_numpy(rng.normal(size=(500, 6)) * [5, 3, 2, 1, 1, 1]) for _ in range(2))
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    assert linear_cka(x, x) == pytest.approx(1)
    assert linear_cka(x, 0.3 * x @ torch.from_numpy(rotation) + 4) == pytest.approx(1)
    assert linear_cka(x, other) < 0.1
    assert linear_cka(x, other) < linear_cka(x, x + other) < 0.95
    assert linear_cka(x, torch.ones_like(x)) is None


def test_similarity_ignores_what_only_tells_elements_apart():
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.normal(size=(500, 6))) for _ in range(2))
    elements = torch.from_numpy(rng.choice([1, 8], 500))
    offsets = 50 * (elements == 8).double().unsqueeze(1)
    assert linear_cka(x + offsets, y + offsets) > 0.99
    apart = linear_cka(centred(x + offsets, elements), centred(y + offsets, elements))
    assert apart < 0.1


def test_structures_are_spaced_evenly():
    assert spaced(np.arange(10) * 2, 4).tolist() == [0, 4, 10, 14]
    assert spaced(np.arange(3), 100).tolist() == [0, 1, 2]


def test_features_are_of_the_whole_graph_in_evaluation_mode(tmp_path):
    model = network(
        {"name": "f", "architecture": "forcenet", "cutoff": CUTOFF, "layers": 1, "width": 8, "frequencies": 4}
    )
    store = make_store(make_frames(3), tmp_path, CUTOFF)
    model.train()
    first = probes.features_of(model, store)
    assert not model.training
    assert torch.equal(first, probes.features_of(model, store))
    with torch.no_grad():
        assert torch.allclose(first[24:48], model.features(store.batch(torch.tensor([1])).graph), atol=1e-5)


def flexible(count: int) -> Frames:
    """Boxes whose hydrogens have left their places a little."""
    rng, frames = np.random.default_rng(3), make_frames(count)
    moved = frames.positions + rng.normal(scale=0.03, size=frames.positions.shape)
    return replace(frames, positions=moved)


def probe(inputs: Inputs, output: Path, *models: Path) -> int:
    files = ["--frames", inputs.frames, "--neighbours", inputs.neighbours, "--split", inputs.split]
    return main([str(word) for word in ("probe", "--models", *models, *files, "--output", output)])


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def cell(tmp_path_factory) -> tuple[Inputs, dict[str, Path]]:
    """Inputs of flexible water and the networks trained on them."""
    folder = tmp_path_factory.mktemp("cell")
    inputs = write_inputs(folder, flexible(9))
    run(spec("pretrain"), inputs, 1, folder / "pretrained")
    parent = folder / "pretrained/model.safetensors"
    run(spec(), inputs, 1, folder / "scratch")
    run(from_mask(), replace(inputs, parent=parent), 1, folder / "mask")
    return inputs, {name: folder / name / "model.safetensors" for name in ("pretrained", "scratch", "mask")}


def test_untrained_pretrained_and_finetuned_networks_are_probed(cell, tmp_path):
    inputs, models = cell
    assert probe(inputs, tmp_path / "probes.csv", *models.values()) == 0
    rows = read(tmp_path / "probes.csv")
    assert tuple(rows[0]) == COLUMNS
    assert {(r["dataset"], r["backbone"], r["seed"]) for r in rows} == {("boxes", "small", "0")}
    probed, finetuned = ("oh_length", "hoh_angle", "hydrogen_bonds"), ("mask", "scratch")
    assert [(r["stage"], r["strategy"], r["quantity"]) for r in rows] == [
        *(("untrained", "untrained", q) for q in probed),
        *(("pretrain", "mask", q) for q in probed),
        *(("finetune", s, q) for s in finetuned for q in (*probed, "similarity")),
    ]
    assert all(float(r["value"]) <= 1 for r in rows)
    assert {r["n"] for r in rows if r["quantity"] != "similarity"} == {"16"}
    assert {r["n"] for r in rows if r["quantity"] == "similarity"} == {"48"}
    assert len({r["value"] for r in rows}) == len(rows)


def test_similarity_is_to_what_the_finetuning_started_from(cell, tmp_path):
    """Networks that were not trained at all are what they started from."""
    inputs, models = cell
    still = {**spec()["training"], "learning_rate": 1e-30, "final_learning_rate": 0.0, "weight_decay": 0.0}
    files = {"parent": models["pretrained"]}
    run(spec(training=still), inputs, 1, tmp_path / "scratch")
    run(from_mask(training=still), replace(inputs, **files), 1, tmp_path / "mask")
    networks = [tmp_path / name / "model.safetensors" for name in ("scratch", "mask")]
    assert probe(inputs, tmp_path / "with.csv", models["pretrained"], *networks) == 0
    values = {r["strategy"]: float(r["value"]) for r in read(tmp_path / "with.csv") if r["quantity"] == "similarity"}
    assert values == pytest.approx({"scratch": 1, "mask": 1})
    assert probe(inputs, tmp_path / "trained.csv", *models.values()) == 0
    trained = {
        r["strategy"]: float(r["value"]) for r in read(tmp_path / "trained.csv") if r["quantity"] == "similarity"
    }
    assert max(trained.values()) < 1 - 1e-6


def test_an_absent_parent_is_said(cell, tmp_path, capsys):
    inputs, models = cell
    assert probe(inputs, tmp_path / "probes.csv", models["mask"]) == 0
    assert "finetune/mask: what it started from is not among the models" in capsys.readouterr().out
    assert [r["value"] for r in read(tmp_path / "probes.csv") if r["quantity"] == "similarity"] == [""]


def test_a_diverged_network_has_no_values(cell, tmp_path, capsys):
    inputs, _ = cell
    hot = {**spec()["training"], "learning_rate": 1e30, "gradient_clip": None}
    run(spec(training=hot), inputs, 1, tmp_path)
    assert read_json(tmp_path / "run.json")["status"] == "diverged"
    assert probe(inputs, tmp_path / "probes.csv", tmp_path / "model.safetensors") == 0
    assert "finetune/scratch diverged" in capsys.readouterr().out
    by_stage = {r["stage"]: r["value"] for r in read(tmp_path / "probes.csv")}
    assert by_stage["finetune"] == ""
    assert by_stage["untrained"] != ""


def test_rigid_water_has_no_r_squared_of_lengths_and_angles(tmp_path, capsys):
    inputs = write_inputs(tmp_path)
    run(spec(), inputs, 1, tmp_path / "scratch")
    assert probe(inputs, tmp_path / "probes.csv", tmp_path / "scratch/model.safetensors") == 0
    values = {r["quantity"]: r["value"] for r in read(tmp_path / "probes.csv") if r["stage"] == "finetune"}
    assert values["oh_length"] == values["hoh_angle"] == ""
    assert values["hydrogen_bonds"] != ""
    said = capsys.readouterr().out
    assert "oh_length is the same in all molecules" in said
    assert "hoh_angle is the same in all molecules" in said


def test_without_water_there_is_similarity_alone(tmp_path, capsys):
    frames = make_frames(9)
    inputs = write_inputs(tmp_path, replace(frames, molecules=np.full_like(frames.molecules, -1)))
    run(spec(), inputs, 1, tmp_path / "scratch")
    capsys.readouterr()
    assert probe(inputs, tmp_path / "probes.csv", tmp_path / "scratch/model.safetensors") == 0
    assert [r["quantity"] for r in read(tmp_path / "probes.csv")] == ["similarity"]
    assert capsys.readouterr().out == "no intact water molecules on every side: similarity alone\n"


def test_another_split_is_refused(cell, tmp_path, capsys):
    inputs, models = cell
    content = read_json(inputs.split)
    write_json(tmp_path / "other.json", {**content, "train": content["test"], "test": content["train"]})
    other = replace(inputs, split=tmp_path / "other.json")
    assert probe(other, tmp_path / "probes.csv", *models.values()) == 1
    assert "another split than those given to probe it" in capsys.readouterr().err
    assert not (tmp_path / "probes.csv").exists()


def test_networks_of_two_cells_or_one_twice_are_refused(cell, tmp_path, capsys):
    inputs, models = cell
    run(spec(seed=1), inputs, 1, tmp_path / "seed1")
    assert probe(inputs, tmp_path / "probes.csv", models["scratch"], tmp_path / "seed1/model.safetensors") == 1
    assert "seed is 1, but 0" in capsys.readouterr().err
    assert probe(inputs, tmp_path / "probes.csv", models["scratch"], models["scratch"]) == 1
    assert "finetune/scratch is given already" in capsys.readouterr().err


def test_trials_are_told_apart(cell, tmp_path):
    inputs, _ = cell
    for trial in (1, 2):
        run(spec(trial=trial, trials=2), inputs, 1, tmp_path / str(trial))
    networks = [tmp_path / str(trial) / "model.safetensors" for trial in (1, 2)]
    assert probe(inputs, tmp_path / "probes.csv", *networks) == 0
    assert {r["strategy"] for r in read(tmp_path / "probes.csv")} == {"untrained", "scratch+1", "scratch+2"}


def collect(output: Path, *tables: Path) -> int:
    return main(["collect-probes", "--probes", *map(str, tables), "--output", str(output)])


def test_tables_are_collected_sorted_whatever_their_order(cell, tmp_path):
    inputs, models = cell
    probe(inputs, tmp_path / "a.csv", *models.values())
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "b.csv").write_text(text.replace(",0,", ",10,"))
    (tmp_path / "c.csv").write_text(text.replace(",0,", ",9,"))
    tables = [tmp_path / f"{name}.csv" for name in "abc"]
    assert collect(tmp_path / "one.csv", *tables) == 0
    assert collect(tmp_path / "two.csv", *reversed(tables)) == 0
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    rows = read(tmp_path / "one.csv")
    assert list(dict.fromkeys(r["seed"] for r in rows)) == ["0", "9", "10"]
    assert rows[: len(rows) // 3] == read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset,backbone\nwater,gns\n", "columns are dataset, backbone, not"),
        (",".join(COLUMNS) + "\nwater,gns,0,pretrain,mask,charge,0.5,16\n", "no row of a probe"),
        (",".join(COLUMNS) + "\n" + "water,gns,0,pretrain,mask,oh_length,0.5,16\n" * 2, "give each once"),
        (None, "no such file"),
    ],
)
def test_a_table_of_something_else_is_refused(tmp_path, capsys, text, message):
    if text is not None:
        (tmp_path / "probes.csv").write_text(text)
    assert collect(tmp_path / "all.csv", tmp_path / "probes.csv") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "all.csv").exists()


def test_probes_are_the_same_again(cell, tmp_path):
    inputs, models = cell
    for name in ("one", "two"):
        probe(inputs, tmp_path / name, *models.values())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
