"""Training runs from files to files: reproducible, honest about their start, blind to the test split."""

import json
from dataclasses import replace

import numpy as np
import pytest

from priorbench.cli import main
from priorbench.errors import PriorbenchError
from priorbench.evaluation.errors import evaluate
from priorbench.frames import Frames
from priorbench.io import read_json
from priorbench.kernels.library import in_use, plain
from priorbench.training.data import drawn
from priorbench.training.model import load_model
from priorbench.training.run import run, run_all
from tests.conftest import make_frames
from tests.networks import CUTOFF, every_network
from tests.training.conftest import BY_STEPS, TEST, TRAIN, VALIDATION, from_mask, spec, write_inputs

TIMES = ("seconds", "structures_per_s")
CLOCKS = (*TIMES, "setup_seconds", "validation_seconds", "evaluation_seconds")


def record(folder):
    return {key: value for key, value in read_json(folder / "run.json").items() if key not in CLOCKS}


def metrics(folder):
    import pandas as pd

    return pd.read_csv(folder / "metrics.csv").drop(columns=list(TIMES))


@every_network
@pytest.mark.parametrize(
    "task", [{"name": "masking"}, {"name": "denoising"}, {"name": "potential"}], ids=lambda task: task["name"]
)
def test_the_same_run_twice_gives_the_same_bytes(spec_of, task, inputs, tmp_path):
    for name in ("a", "b"):
        run(spec_of(task), inputs, 1, tmp_path / name)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    assert record(tmp_path / "a") == record(tmp_path / "b")
    assert metrics(tmp_path / "a").equals(metrics(tmp_path / "b"))


@pytest.fixture
def spec_of(spec):
    def make(task):
        stage = "finetune" if task["name"] == "potential" else "pretrain"
        return _spec(stage, task=task, backbone=spec)

    return make


_spec = spec


def test_the_record_says_what_computed_the_edge_layers(inputs, tmp_path):
    with plain():
        run(spec(), inputs, 1, tmp_path / "plain")
    run(spec(), inputs, 1, tmp_path / "run")
    assert record(tmp_path / "plain")["edge_layers"] == "plain"
    found = record(tmp_path / "run")
    assert found["edge_layers"] == in_use("cpu")
    assert (found["precision"], found["deterministic"], found["steps_by"]) == ("fp32", True, "operations")


def test_strategies_of_one_seed_start_from_the_same_weights(inputs, pretrained, tmp_path):
    run(spec(), inputs, 1, tmp_path / "scratch")
    run(from_mask(), replace(inputs, parent=pretrained), 1, tmp_path / "mask")
    scratch, mask, parent = (record(tmp_path / name) for name in ("scratch", "mask", "pretrained"))
    assert scratch["initial_checksum"] == mask["initial_checksum"] == parent["initial_checksum"]
    assert scratch["start_checksum"] == scratch["initial_checksum"]
    assert mask["start_checksum"] == parent["final_checksum"] == mask["parent_checksum"]
    assert mask["start_checksum"] != mask["initial_checksum"]


def test_another_seed_starts_elsewhere(inputs, tmp_path):
    for seed in (0, 1):
        run(spec(seed=seed), inputs, 1, tmp_path / str(seed))
    assert record(tmp_path / "0")["initial_checksum"] != record(tmp_path / "1")["initial_checksum"]


def test_batches_come_in_the_same_order_for_every_strategy(inputs, pretrained, tmp_path, monkeypatch):
    seen: list[list[int]] = []

    def recorded(*arguments):
        for structures in batches(*arguments):
            seen.append(structures.tolist())
            yield structures

    from priorbench.training import loop

    batches = loop._batches
    monkeypatch.setattr(loop, "_batches", recorded)
    orders = []
    for given, files in ((spec(), inputs), (from_mask(), replace(inputs, parent=pretrained)), (spec(seed=1), inputs)):
        seen.clear()
        run(given, files, 1, tmp_path / "run")
        orders.append(list(seen))
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0][:3] != orders[0][3:]  # the second epoch is shuffled anew


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-50]), "damaged"),
        (lambda path: path.write_text("weights"), "damaged"),
    ],
    ids=["missing", "cut", "foreign"],
)
def test_a_missing_or_damaged_parent_is_an_error_never_scratch(inputs, pretrained, tmp_path, prepare, message):
    prepare(pretrained)
    with pytest.raises(PriorbenchError, match=message):
        run(from_mask(), replace(inputs, parent=pretrained), 1, tmp_path / "out")
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_flipped_weight_is_noticed(pretrained):
    content = bytearray(pretrained.read_bytes())
    content[-1] ^= 0x40
    pretrained.write_bytes(content)
    with pytest.raises(PriorbenchError, match="checksum"):
        load_model(pretrained)


def test_wrong_parents_are_refused(inputs, pretrained, tmp_path):
    given = replace(inputs, parent=pretrained)
    for wrong in (
        from_mask(seed=1),
        from_mask(dataset="other"),
        {**from_mask(), "pretraining": "denoise"},
        from_mask(backbone={**spec()["backbone"], "width": 16}),
    ):
        with pytest.raises(PriorbenchError, match="wrong parent"):
            run(wrong, given, 1, tmp_path / "out")
    with pytest.raises(PriorbenchError, match="give its weights"):
        run(from_mask(), inputs, 1, tmp_path / "out")
    with pytest.raises(PriorbenchError, match="starts from scratch"):
        run(spec(), given, 1, tmp_path / "out")


def test_weights_pretrained_on_another_split_are_refused(inputs, pretrained, tmp_path):
    split = json.loads(inputs.split.read_text())
    split["train"], split["test"] = [7, 8, 2, 3, 4], [0, 1]
    inputs.split.write_text(json.dumps(split))
    with pytest.raises(PriorbenchError, match="wrong parent: split_hash"):
        run(from_mask(), replace(inputs, parent=pretrained), 1, tmp_path / "out")


def test_a_diverged_pretraining_is_counted_up_to_the_tables(inputs, tmp_path):
    from priorbench.analysis.collect import collect, load_runs

    hot = {"epochs": 1, "batch_size": 2, "learning_rate": 1e30, "gradient_clip": None}
    run(spec("pretrain", training=hot), inputs, 1, tmp_path / "pretrained")
    given = replace(inputs, parent=tmp_path / "pretrained/model.safetensors")
    budget = replace(inputs, budget=tmp_path / "pretrained/run.json")
    run(spec(), inputs, 1, tmp_path / "scratch")
    run(spec(strategy="longer-steps", role="longer-steps", longer=BY_STEPS), budget, 1, tmp_path / "longer")
    assert record(tmp_path / "longer")["steps"] == 2 * 3 + 3  # as many as the pretraining was to make
    run(from_mask(), given, 1, tmp_path / "mask")
    folders = [tmp_path / name for name in ("pretrained", "scratch", "longer", "mask")]
    collect(folders, tmp_path / "runs.csv", tmp_path / "curves.csv")
    status = load_runs(tmp_path / "runs.csv").set_index("strategy")["status"]
    assert list(status[["scratch", "longer-steps"]]) == ["completed"] * 2
    assert set(status["mask"]) == {"diverged"}


def test_an_altered_frames_file_is_noticed(inputs, tmp_path):
    content = bytearray(inputs.frames.read_bytes())
    content[-3] ^= 0x01
    inputs.frames.write_bytes(content)
    with pytest.raises(PriorbenchError, match="does not match its hash"):
        run(spec(), inputs, 1, tmp_path / "out")


def test_longer_runs_spend_what_pretraining_spent(inputs, pretrained, tmp_path):
    run(spec(), inputs, 1, tmp_path / "scratch")
    budget = replace(inputs, budget=tmp_path / "pretrained" / "run.json")
    run(spec(strategy="longer-steps", longer=BY_STEPS), budget, 1, tmp_path / "steps")
    compute = {"by": "compute", "times": None}
    run(spec(strategy="longer-compute", longer=compute), budget, 1, tmp_path / "compute")
    scratch, steps, longer, parent = (record(tmp_path / name) for name in ("scratch", "steps", "compute", "pretrained"))
    assert steps["steps"] == scratch["steps"] + parent["steps"]
    step = scratch["flops"] / scratch["steps"]
    assert abs(longer["flops"] - scratch["flops"] - parent["flops"]) <= step
    with pytest.raises(PriorbenchError, match="--budget"):
        run(spec(strategy="longer-compute", longer=compute), inputs, 1, tmp_path / "out")


def test_a_longer_run_may_be_a_multiple_of_finetuning(inputs, tmp_path):
    run(spec(strategy="longer", longer={"by": "steps", "times": 1.5}), inputs, 1, tmp_path / "out")
    assert record(tmp_path / "out")["steps"] == 9  # 1.5 × 2 epochs × 3 batches


def test_fewer_structures_are_among_more_and_seen_alone(inputs, tmp_path):
    few, more = (drawn(np.arange(10, 30), count, seed=3) for count in (4, 9))
    assert set(few) < set(more) < set(range(10, 30))
    assert list(drawn(np.arange(5), None, seed=3)) == [0, 1, 2, 3, 4]
    run(spec(structures=3), inputs, 1, tmp_path / "out")
    assert record(tmp_path / "out")["train_structures"] == 3
    with pytest.raises(PriorbenchError, match="6 are asked for, the training side has 5"):
        run(spec(structures=6), inputs, 1, tmp_path / "none")


def test_structures_without_labels_are_left_out(inputs, tmp_path):
    frames = make_frames(9)
    other = replace(frames, forces=2 * frames.forces)
    other.metadata.update(relabels=frames.hash(), unlabelled=[0, 6])
    other.save(tmp_path / "labelled.safetensors")
    given = replace(inputs, frames=tmp_path / "labelled.safetensors")
    run(spec("pretrain", task={"name": "potential"}, labels="doubled"), given, 1, tmp_path / "out")
    own = record(tmp_path / "out")
    assert (own["train_structures"], own["validation_structures"]) == (4, 1)
    assert own["data_hash"] == frames.hash()


def test_weights_pretrained_on_other_data_must_not_have_seen_test_structures(inputs, pretrained, tmp_path):
    """Another dataset by name, whose training structures are this run's test structures in another order."""
    folder = tmp_path / "other"
    folder.mkdir()
    frames = make_frames(9)
    backwards = frames.positions.reshape(9, -1, 3)[::-1].reshape(-1, 3)
    other = write_inputs(folder, replace(frames, positions=backwards, metadata={**frames.metadata}))
    run(spec("pretrain", dataset="elsewhere"), other, 1, tmp_path / "elsewhere")
    given = replace(inputs, parent=tmp_path / "elsewhere/model.safetensors")
    with pytest.raises(PriorbenchError, match="pretrained on 2 of the 2 test structures"):
        run(from_mask(pretraining_dataset="elsewhere"), given, 1, tmp_path / "out")
    unrelated = write_inputs(folder, make_frames(9, seed=1))
    run(spec("pretrain", dataset="elsewhere"), unrelated, 1, tmp_path / "elsewhere")
    run(from_mask(pretraining_dataset="elsewhere"), given, 1, tmp_path / "out")
    assert record(tmp_path / "out")["start_checksum"] == record(tmp_path / "elsewhere")["final_checksum"]


def test_finetuning_cannot_see_test_labels(tmp_path):
    frames = make_frames(9)
    forces, energies = frames.forces.copy(), frames.energies.copy()
    for structure in TEST:
        forces[frames.atoms_of(structure)] *= -5
        energies[structure] += 100
    states = []
    for name, labelled in (("a", frames), ("b", replace(frames, forces=forces, energies=energies))):
        (tmp_path / name).mkdir()
        places = [tmp_path / name / "first", tmp_path / name / "second"]  # the second after the first was tested
        files = write_inputs(tmp_path / name, labelled)
        run_all([spec(seed=0), spec(seed=1)], [files, files], 1, places)
        states.append([record(place)["final_checksum"] for place in places])
    assert states[0] == states[1]


def test_test_structures_are_read_when_training_has_ended(inputs, tmp_path, monkeypatch):
    from priorbench.training import run as module
    from priorbench.training.store import Store

    events = []
    build, train = Store.build, module.Loop.run

    def building(frames, neighbours, structures, *given):
        events.append(structures.tolist())
        return build(frames, neighbours, structures, *given)

    def training(*given):
        outcome = train(*given)
        events.append("trained")
        return outcome

    monkeypatch.setattr(Store, "build", building)
    monkeypatch.setattr(module.Loop, "run", training)
    run(spec(), inputs, 1, tmp_path / "run")
    assert events == [TRAIN, VALIDATION, "trained", TEST]


@every_network
def test_finetuning_leaves_the_test_errors_that_evaluation_gives(spec_of, inputs, tmp_path):
    run(spec_of({"name": "potential"}), inputs, 1, tmp_path / "run")
    evaluate(tmp_path / "run/model.safetensors", inputs, 1, tmp_path / "test.json")
    assert (tmp_path / "run/test.json").read_bytes() == (tmp_path / "test.json").read_bytes()


def test_a_pretraining_is_not_tested(pretrained, inputs, tmp_path):
    assert not pretrained.with_name("test.json").exists()
    with pytest.raises(PriorbenchError, match="finetune it first"):
        evaluate(pretrained, inputs, 1, tmp_path / "test.json")


def test_test_errors_do_not_depend_on_the_batch_size(inputs, tmp_path, monkeypatch):
    run(spec(), inputs, 1, tmp_path / "run")
    results = []
    for batch in (1, 2):
        monkeypatch.setattr("priorbench.evaluation.errors.predict.__defaults__", (batch,))
        evaluate(tmp_path / "run/model.safetensors", inputs, 1, tmp_path / f"test{batch}.json")
        results.append(read_json(tmp_path / f"test{batch}.json"))
    for name in ("force_rmse", "force_mae", "energy_rmse", "energy_mae"):
        assert results[0][name] == pytest.approx(results[1][name], rel=1e-5)


def test_test_errors_against_a_plain_computation(inputs, tmp_path):
    run(spec(), inputs, 1, tmp_path / "run")
    result, frames = read_json(tmp_path / "run/test.json"), Frames.load(inputs.frames)
    forces = np.concatenate([frames.forces[frames.atoms_of(s)] for s in TEST])
    assert result["trivial_force_rmse"] == pytest.approx(1000 * np.sqrt(np.mean(forces**2)))
    train_mean = frames.energies[:5].mean()
    off = (frames.energies[TEST] - train_mean) / 24 * 1000
    assert result["trivial_energy_rmse"] == pytest.approx(np.sqrt(np.mean(off**2)))
    assert [row["structure"] for row in result["per_structure"]] == TEST
    mean_square = np.mean([row["force_rmse"] ** 2 for row in result["per_structure"]])
    assert result["force_rmse"] == pytest.approx(np.sqrt(mean_square))


def test_a_network_is_tested_on_its_own_split_only(inputs, tmp_path):
    run(spec(), inputs, 1, tmp_path / "run")
    split = json.loads(inputs.split.read_text())
    split["train"], split["test"] = [7, 8, 2, 3, 4], [0, 1]
    inputs.split.write_text(json.dumps(split))
    with pytest.raises(PriorbenchError, match="another split"):
        evaluate(tmp_path / "run/model.safetensors", inputs, 1, tmp_path / "test.json")


def test_divergence_is_counted_not_crashed_on(inputs, tmp_path):
    training = {"epochs": 3, "batch_size": 2, "learning_rate": 1e30, "gradient_clip": None}
    run(spec(training=training), inputs, 1, tmp_path / "run")
    result = record(tmp_path / "run")
    assert result["status"] == "diverged"
    assert "epoch" in result["diverged_at"]
    assert read_json(tmp_path / "run/test.json")["force_rmse"] is None


def test_forcenet_statistics_are_kept_and_transferred(inputs, tmp_path):
    backbone = {**spec()["backbone"], "architecture": "forcenet", "frequencies": 4}
    run(spec("pretrain", backbone=backbone), inputs, 1, tmp_path / "pretrained")
    state, _ = load_model(tmp_path / "pretrained/model.safetensors")
    means = [v for k, v in state.items() if k.endswith("running_mean")]
    assert means
    assert all(bool((m != 0).any()) for m in means)
    given = replace(inputs, parent=tmp_path / "pretrained/model.safetensors")
    run(from_mask(backbone=backbone), given, 1, tmp_path / "mask")
    assert record(tmp_path / "mask")["start_checksum"] == record(tmp_path / "pretrained")["final_checksum"]


def test_command_line_refuses_in_one_line(inputs, tmp_path, capsys):
    arguments = ["--frames", str(inputs.frames), "--neighbours", str(inputs.neighbours), "--split", str(inputs.split)]
    (tmp_path / "spec.json").write_text(json.dumps(from_mask()))
    code = main(["finetune", "--spec", f"@{tmp_path}/spec.json", *arguments, "--output", str(tmp_path / "out")])
    assert code == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "--parent" in message
    assert not (tmp_path / "out").exists()


def test_masking_that_is_impossible_is_refused(inputs, tmp_path):
    task = {"name": "masking", "ratio": 0.1}
    with pytest.raises(PriorbenchError, match="would mask nothing"):
        run(spec("pretrain", task=task), inputs, 1, tmp_path / "out")


def test_neighbours_of_another_cutoff_are_refused(inputs, tmp_path):
    with pytest.raises(PriorbenchError, match="cutoff"):
        run(spec(backbone={**spec()["backbone"], "cutoff": CUTOFF + 0.5}), inputs, 1, tmp_path / "out")
