"""Several seeds in one process: the same bytes as in a process each, and clear about which seed failed."""

import json
import os
import time

import pandas as pd
import pytest

from priorbench.cli import main
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.io import read_json, write_json
from priorbench.runs import joined
from priorbench.training.data import inputs_by_run
from priorbench.training.run import run_all
from tests.processes import started
from tests.training.conftest import BACKBONE, TEST, TRAIN, VALIDATION, from_mask, spec

SEEDS = (0, 1, 2)
CLOCKS = {"seconds", "structures_per_s", "setup_seconds", "validation_seconds", "evaluation_seconds"}
SMALL = {
    "egnn": BACKBONE | {"architecture": "egnn"},
    "gns": BACKBONE,
    "forcenet": BACKBONE | {"architecture": "forcenet", "frequencies": 4},
}


@pytest.fixture
def files(inputs, tmp_path):
    """Options of the data, and a split file for every seed: each holds back other structures."""
    splits = []
    for seed in SEEDS:
        turned = [(structure + seed) % 9 for structure in (*TRAIN, *VALIDATION, *TEST)]
        sides = {"train": sorted(turned[:5]), "validation": sorted(turned[5:7]), "test": sorted(turned[7:])}
        splits.append(tmp_path / f"split-seed{seed}.json")
        write_json(splits[-1], read_json(inputs.split) | sides | {"seed": seed})
    return inputs.frames, inputs.neighbours, splits


def commands(files, backbone, seeds, folder):
    """A pretraining and the finetuning after it, as the workflow calls them."""
    frames, neighbours, splits = files
    data = ["--frames", frames, "--neighbours", neighbours, "--split", *(splits[seed] for seed in seeds)]
    places = {stage: [folder / stage / f"seed{seed}" for seed in seeds] for stage in ("pretrain", "finetune")}
    parents = ["--parent", *(place / "model.safetensors" for place in places["pretrain"])]
    found = []
    for stage, of_seed, more in (("pretrain", pretraining, []), ("finetune", from_mask, parents)):
        given = json.dumps(joined([of_seed(backbone=backbone, seed=seed) for seed in seeds]))
        found.append([*map(str, [stage, "--spec", given, *data, *more, "--output", *places[stage]])])
    return found


def pretraining(**changes):
    return spec("pretrain", **changes)


def in_a_process(several, log):
    """What the commands say, one after the other in a process of their own."""

    def work():
        for arguments in several:
            assert main(arguments) == 0

    child = started(work, log)
    assert os.waitpid(child, 0)[1] == 0, log.read_text()
    return log.read_text()


def without(columns, folder):
    record = {key: value for key, value in read_json(folder / "run.json").items() if key not in columns}
    metrics = pd.read_csv(folder / "metrics.csv")
    return record | {"parent": None}, metrics.drop(columns=metrics.columns.intersection(list(columns)))


@pytest.mark.parametrize("architecture", SMALL)
def test_a_seed_leaves_the_same_bytes_after_others_and_alone(architecture, files, tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    log = in_a_process(commands(files, SMALL[architecture], SEEDS, together), tmp_path / "log")
    in_a_process(commands(files, SMALL[architecture], SEEDS[-1:], alone), tmp_path / "other")
    for stage, names in (("pretrain", ["model.safetensors"]), ("finetune", ["model.safetensors", "test.json"])):
        after, single = (folder / stage / f"seed{SEEDS[-1]}" for folder in (together, alone))
        for name in names:
            assert (after / name).read_bytes() == (single / name).read_bytes(), (stage, name)
        (record, metrics), (own_record, own_metrics) = without(CLOCKS, after), without(CLOCKS, single)
        assert record == own_record
        assert metrics.equals(own_metrics)
    finals = {read_json(together / f"finetune/seed{seed}/run.json")["final_checksum"] for seed in SEEDS}
    assert len(finals) == len(SEEDS)
    assert {line[:6] for line in log.splitlines()} == {f"seed {seed}" for seed in SEEDS}


def test_frames_and_neighbours_are_loaded_once(files, tmp_path, monkeypatch):
    loads, load = [], Frames.load

    def counted(*given, **options):
        loads.append(given)
        return load(*given, **options)

    monkeypatch.setattr(Frames, "load", counted)
    run_all([spec(seed=s) for s in SEEDS], inputs_by_run(*files), 1, [tmp_path / str(s) for s in SEEDS])
    assert len(loads) == 1


def test_a_failing_seed_is_named_and_what_others_wrote_stays(files, tmp_path):
    content = read_json(files[2][1])
    files[2][1].write_text(json.dumps(content | {"frames": "others"}))
    places = [tmp_path / str(seed) for seed in SEEDS]
    with pytest.raises(PriorbenchError, match=r"^seed 1: .*split-seed1\.json: the split was made for other frames"):
        run_all([spec(seed=s) for s in SEEDS], inputs_by_run(*files), 1, places)
    assert sorted(path.name for path in places[0].iterdir()) == [
        "checkpoint.safetensors",  # the workflow deletes the outputs of a job that failed
        "metrics.csv",
        "model.safetensors",
        "run.json",
        "test.json",
    ]
    assert [path.name for path in places[1].iterdir()] == ["progress.json"]
    assert "split-seed1.json" in read_json(places[1] / "progress.json")["message"]
    assert read_json(places[2] / "progress.json")["state"] == "waiting"


@pytest.mark.parametrize("option", ["--split", "--output", "--parent"])
def test_every_seed_needs_its_own_files(option, files, tmp_path, capsys):
    _, arguments = commands(files, BACKBONE, SEEDS, tmp_path / "out")
    del arguments[arguments.index(option) + 1]
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert option in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seeds", [[], [0, 0], 3, None])
def test_seeds_that_are_no_list_are_refused(seeds, files, tmp_path, capsys):
    given = {key: value for key, value in spec().items() if key != "seed"} | {"seeds": seeds}
    data = ["--frames", str(files[0]), "--neighbours", str(files[1]), "--split", str(files[2][0])]
    assert main(["finetune", "--spec", json.dumps(given), *data, "--output", str(tmp_path / "out")]) == 1
    assert "seeds" in capsys.readouterr().err


def test_only_runs_that_differ_in_the_seed_are_joined():
    with pytest.raises(ValueError, match="more than their seeds"):
        joined([spec(seed=0), spec(seed=1, dataset="other")])


def test_the_seconds_of_a_run_add_up(files, tmp_path):
    started = time.perf_counter()
    run_all([spec(seed=s) for s in SEEDS], inputs_by_run(*files), 1, [tmp_path / str(s) for s in SEEDS])
    elapsed = time.perf_counter() - started
    records = [read_json(tmp_path / str(seed) / "run.json") for seed in SEEDS]
    names = ("setup_seconds", "seconds", "validation_seconds", "evaluation_seconds")
    assert all(record[name] > 0 for record in records for name in names)
    assert sum(record[name] for record in records for name in names) <= elapsed
