import math

import pandas as pd
import pytest

from priorbench.analysis.collect import load_runs
from priorbench.analysis.results import load_statistics
from priorbench.analysis.statistics import statistics, summarise
from priorbench.errors import PriorbenchError


def test_comparisons_and_numbers(analysed) -> None:
    found = load_statistics(analysed.statistics_json)
    runs = load_runs(analysed.runs_csv)
    pairs = {(c.strategy, c.reference) for c in found.comparisons}
    baselines = {"scratch", "longer-steps", "longer-compute"}
    assert pairs == {(s, b) for s in ("mask", "denoise") for b in baselines} | {("mask", "denoise")}
    own = runs[(runs["backbone"] == "egnn") & (runs["stage"] == "finetune")].pivot(
        index="seed", columns="strategy", values="test_force_rmse"
    )
    logs = [math.log(a / b) for a, b in zip(own["mask"], own["scratch"], strict=True)]
    chosen = next(c for c in found.comparisons if (c.backbone, c.strategy, c.reference) == ("egnn", "mask", "scratch"))
    assert chosen.change.delta == pytest.approx(math.exp(sum(logs) / 3) - 1)


def test_diverged_runs_are_counted(analysed) -> None:
    found = load_statistics(analysed.statistics_json)
    scratch = next(r for r in found.of("tip3p", "gns") if r.role == "scratch")
    assert (scratch.seeds, scratch.diverged, len(scratch.errors["force_rmse"].values)) == ([0, 1, 2], [1], 2)
    against = [c for c in found.comparisons if (c.backbone, c.reference) == ("gns", "scratch")]
    assert {(c.change.verdict, c.change.pairs, tuple(c.change.diverged)) for c in against} == {("undecided", 2, (1,))}


def test_all_seeds_diverged_is_still_a_row(make) -> None:
    lost = tuple(("gns", "scratch", seed) for seed in (0, 1, 2))
    experiment = make(diverged=lost).analyse()
    scratch = next(r for r in load_statistics(experiment.statistics_json).of("tip3p", "gns") if r.role == "scratch")
    assert (scratch.completed, scratch.errors["force_rmse"].mean) == (0, None)


def test_worse_than_trivial_is_marked(make, sim) -> None:
    experiment = make()
    sim.edit(experiment.run("gns", "denoise", 2) / "test.json", force_rmse=sim.TRIVIAL)
    experiment.analyse()
    rows = load_statistics(experiment.statistics_json).of("tip3p", "gns")
    assert {r.strategy: r.worse_than_trivial["force_rmse"] for r in rows if r.worse_than_trivial["force_rmse"]} == {
        "denoise": 1
    }
    lines = (experiment.root / "tables" / "rmse.md").read_text().splitlines()
    assert [line.split("|")[3].strip() for line in lines if line.startswith("|") and "†" in line] == ["denoise"]


def test_missing_baseline_and_dropped_seed_are_refused_here_too(analysed) -> None:
    runs = load_runs(analysed.runs_csv)
    with pytest.raises(PriorbenchError, match=r"^tip3p/egnn: .*no longer-steps run"):
        summarise(runs[runs["role"] != "longer-steps"])
    with pytest.raises(PriorbenchError, match="mask against scratch: seed 2"):
        summarise(runs[(runs["strategy"] != "mask") | (runs["seed"] != 2) | (runs["stage"] == "pretrain")])


def test_a_completed_run_without_a_curve_is_noticed(make) -> None:
    experiment = make().collect()
    curves = pd.read_csv(experiment.curves_csv)
    curves[curves["strategy"] != "scratch"].to_csv(experiment.curves_csv, index=False)
    with pytest.raises(PriorbenchError, match="not in curves"):
        statistics(experiment.runs_csv, experiment.curves_csv, experiment.statistics_json)


def test_pretraining_is_held_against_start_and_floor(make, sim) -> None:
    experiment = make()
    sim.edit(experiment.run("egnn", "pretrain-mask", 0) / "run.json", loss_best=0.9)
    found = load_statistics(experiment.analyse().statistics_json).pretraining
    mask = [p for p in found if (p.backbone, p.pretraining) == ("egnn", "mask")]
    assert [(p.below_start, p.below_floor) for p in mask] == [(True, False), (True, True), (True, True)]
    assert {p.below_floor for p in found if p.pretraining == "denoise"} == {None}


def test_a_pretraining_is_told_as_it_ended(analysed) -> None:
    runs = load_runs(analysed.runs_csv)
    mask = runs.index[(runs["strategy"] == "mask") & (runs["stage"] == "pretrain") & (runs["backbone"] == "egnn")]
    lost, stuck, level = mask
    runs.loc[lost, ["status", "loss_best"]] = ["diverged", None]
    runs.loc[stuck, "loss_best"] = runs.loc[stuck, "loss_start"]
    runs.loc[level, "loss_best"] = runs.loc[level, "floor"]
    found = [p for p in summarise(runs).pretraining if p.backbone == "egnn" and p.pretraining == "mask"]
    assert [(p.diverged, p.below_start, p.below_floor) for p in found] == [
        (True, False, False),
        (False, False, False),
        (False, True, False),
    ]
    start, floor = (runs.loc[mask, name].tolist() for name in ("loss_start", "floor"))
    assert [p.loss_start for p in found] == start
    assert [p.loss_best for p in found] == [None, start[1], floor[2]]


def test_the_longer_run_nearest_in_steps_is_the_match(make, sim) -> None:
    strategies = sim.default_strategies()
    strategies["a-longer-steps"] = sim.Strategy("longer-steps", 0.9)
    experiment = make(strategies=strategies)
    for path in experiment.runs:
        if path.parent.name == "a-longer-steps":
            sim.edit(path / "run.json", steps=5000)
    found = load_statistics(experiment.analyse().statistics_json).comparisons
    longer = {(c.reference, c.matched) for c in found if c.reference_role == "longer-steps"}
    assert longer == {("a-longer-steps", False), ("longer-steps", True)}
