"""Tuning: which trial is compared, what it is chosen by, and what all of them cost."""

import json
import random

import pandas as pd
import pytest

from priorbench.analysis.collect import load_curves, load_runs
from priorbench.errors import PriorbenchError


def chosen(experiment) -> dict[tuple[str, str, int], int]:
    runs = load_runs(experiment.collect().runs_csv)
    runs = runs[runs["stage"] == "finetune"]
    keys = zip(runs["backbone"], runs["strategy"], runs["seed"], strict=True)
    return dict(zip(keys, runs["trial"], strict=True))


def trial(experiment, backbone: str, strategy: str, number: int, seed: int):
    return experiment.run(backbone, f"{strategy}+{number}", seed)


def test_each_seed_keeps_the_trial_that_validates_best(make, sim) -> None:
    experiment = make(trials=3)
    assert set(chosen(experiment).values()) == {2}
    sim.edit(trial(experiment, "gns", "mask", 3, 1) / "run.json", val_force_rmse=1.0)
    found = chosen(experiment)
    assert [key for key, number in found.items() if number != 2] == [("gns", "mask", 1)]
    runs, curves = load_runs(experiment.runs_csv), load_curves(experiment.curves_csv)
    assert len(runs) == 2 * 3 * (2 + 5)
    assert set(runs.loc[runs["stage"] == "finetune", "trials"]) == {3}
    rows = curves[(curves["backbone"] == "gns") & (curves["strategy"] == "mask") & (curves["stage"] == "finetune")]
    assert rows.groupby("seed")["trial"].unique().map(list).to_dict() == {0: [2], 1: [3], 2: [2]}
    assert not rows.duplicated(["seed", "epoch"]).any()


def test_equal_trials_and_diverged_ones(make, sim) -> None:
    experiment = make(trials=3)
    for number in (1, 2, 3):
        sim.edit(trial(experiment, "gns", "mask", number, 0) / "run.json", val_force_rmse=500.0)
        sim.edit(trial(experiment, "gns", "mask", number, 1) / "run.json", status="diverged", val_force_rmse=None)
    sim.edit(trial(experiment, "gns", "mask", 2, 2) / "run.json", status="diverged", val_force_rmse=None)
    found = chosen(experiment)
    assert [found["gns", "mask", seed] for seed in (0, 1)] == [1, 1]
    assert found["gns", "mask", 2] != 2
    runs = load_runs(experiment.runs_csv).query("backbone == 'gns' and strategy == 'mask' and stage == 'finetune'")
    assert list(runs["status"]) == ["completed", "diverged", "completed"]


def test_the_choice_reads_no_test_error(make) -> None:
    experiment = make(trials=3, noise=0.1)
    before, trials = chosen(experiment), experiment.trials_csv.read_bytes()
    tests = [path / "test.json" for path in experiment.runs if (path / "test.json").exists()]
    contents = [path.read_text() for path in tests]
    random.Random(0).shuffle(contents)
    for path, content in zip(tests, contents, strict=True):
        path.write_text(content)
    assert chosen(experiment) == before
    assert experiment.trials_csv.read_bytes() == trials
    for path in tests:  # what lost need not be tested at all
        run = json.loads((path.parent / "run.json").read_text())
        if before[run["backbone"], run["strategy"], run["seed"]] != run["trial"]:
            path.unlink()
    assert chosen(experiment) == before


def test_trials_are_listed_with_validation_errors_alone(make) -> None:
    experiment = make(trials=3).collect()
    table = pd.read_csv(experiment.trials_csv)
    assert len(table) == 2 * 3 * 5 * 3
    assert table.groupby(["backbone", "strategy", "seed"])["chosen"].sum().eq(1).all()
    best = table.loc[table.groupby(["backbone", "strategy", "seed"])["val_force_rmse"].idxmin()]
    assert best["chosen"].eq(1).all()
    assert not [name for name in table.columns if "test" in name]


def test_tuning_costs_all_trials_and_each_pretraining_once(make, sim) -> None:
    experiment = make(trials=3)
    other = experiment.run("gns", "pretrain-mask", 0)
    sim.edit(trial(experiment, "gns", "mask", 3, 0) / "run.json", pretraining="denoise", flops=5e11)
    denoised = json.loads((experiment.run("gns", "pretrain-denoise", 0) / "run.json").read_text())
    sim.edit(trial(experiment, "gns", "mask", 3, 0) / "run.json", start_checksum=denoised["final_checksum"])
    runs = load_runs(experiment.collect().runs_csv)
    own = runs[(runs["backbone"] == "gns") & (runs["seed"] == 0) & (runs["stage"] == "finetune")].set_index("strategy")
    single = json.loads((trial(experiment, "gns", "mask", 1, 0) / "run.json").read_text())["flops"]
    masking = json.loads((other / "run.json").read_text())["flops"]
    assert own.loc["mask", "tuning_flops"] == pytest.approx(2 * single + 5e11 + masking + denoised["flops"])
    assert own.loc["scratch", "tuning_flops"] == pytest.approx(3 * own.loc["scratch", "flops"])
    assert own.loc["mask", "total_flops"] == pytest.approx(single + masking)  # of the chosen one alone


def test_the_table_reports_what_tuning_cost_where_there_was_any(make) -> None:
    plain = (make("plain").analyse().root / "tables/rmse.md").read_text()
    assert "TFLOP tuning" not in plain
    experiment = make("tuned", trials=3).analyse()
    lines = (experiment.root / "tables/rmse.md").read_text().splitlines()
    assert [cell.strip() for cell in lines[0].split("|")][-3:-1] == ["trials", "TFLOP tuning"]
    runs = load_runs(experiment.runs_csv)
    own = runs[(runs["stage"] == "finetune") & (runs["backbone"] == "gns") & (runs["strategy"] == "mask")]
    row = next(line for line in lines if "| gns " in line and "| mask " in line)
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[-3] == "3"
    assert float(cells[-2]) == pytest.approx(own["tuning_flops"].mean() / 1e12, rel=5e-3)


def test_a_single_trial_costs_what_it_costs(make) -> None:
    runs = load_runs(make().collect().runs_csv)
    own = runs[runs["stage"] == "finetune"]
    assert (own["trial"].eq(1) & own["trials"].eq(1) & own["tuning_flops"].eq(own["total_flops"])).all()


def test_unequal_tuning_is_refused(make) -> None:
    experiment = make(trials=2)
    every = experiment.runs
    experiment.runs = [path for path in every if path != trial(experiment, "gns", "scratch", 2, 1)]
    with pytest.raises(PriorbenchError, match=r"tip3p/gns: scratch/seed1 has 1 trials, \S+/seed\d 2; every strategy"):
        experiment.collect()
    experiment.runs = [path for path in every if "+2" not in path.parent.name]
    with pytest.raises(PriorbenchError, match=r"\+1/seed\d \(finetune\): one of 2 trials, of which 1 are given"):
        experiment.collect()
    experiment.runs = [*every, trial(experiment, "gns", "scratch", 2, 1)]
    with pytest.raises(PriorbenchError, match=r"gns/scratch\+2/seed1 \(finetune\): given 2 times"):
        experiment.collect()


def test_trials_of_a_seed_share_split_and_weights(make, sim) -> None:
    experiment = make(trials=2)
    sim.edit(trial(experiment, "gns", "scratch", 2, 1) / "run.json", split_hash="other")
    with pytest.raises(PriorbenchError, match="were split differently"):
        experiment.collect()


def test_of_pretrainings_of_a_name_each_trial_has_its_own(make, sim) -> None:
    experiment = make(trials=2)
    twin = {}
    for seed in (0, 1, 2):
        source = experiment.run("gns", "pretrain-mask", seed)
        run = json.loads((source / "run.json").read_text()) | {"trial": 2, "final_checksum": f"twin{seed}", "flops": 1}
        path = source.parent.with_name("pretrain-mask+2") / f"seed{seed}"
        path.mkdir(parents=True)
        (path / "run.json").write_text(json.dumps(run))
        (path / "metrics.csv").write_bytes((source / "metrics.csv").read_bytes())
        sim.edit(trial(experiment, "gns", "mask", 2, seed) / "run.json", start_checksum=f"twin{seed}")
        twin[seed] = path
    experiment.runs = [*experiment.runs, *twin.values()]
    assert chosen(experiment)["gns", "mask", 0] == 2
    runs = load_runs(experiment.runs_csv).query("backbone == 'gns' and strategy == 'mask'")
    assert list(runs.loc[runs["stage"] == "pretrain", "final_checksum"]) == ["twin0", "twin1", "twin2"]
    assert set(runs.loc[runs["stage"] == "finetune", "pretrain_flops"]) == {1.0}
    sim.edit(trial(experiment, "gns", "mask", 2, 1) / "run.json", start_checksum="twin0")
    with pytest.raises(PriorbenchError, match=r"gns/mask\+2/seed1 .*starts from weights twin0"):
        experiment.collect()
