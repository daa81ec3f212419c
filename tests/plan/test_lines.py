"""What each line costs, and that the sums are those of the lines."""

from pathlib import Path
from typing import Any

import pytest

from priorbench.plan.command import Plan, planned
from priorbench.plan.schedule import Job, wall_seconds
from tests.plan.conftest import (
    FLOPS,
    SETUP,
    SIMULATED,
    START,
    STEP,
    TEST,
    TIP3P,
    TRAINING,
    VALIDATION,
    experiment,
)


def of(tmp_path: Path, cores: int = 2, measured: bool = True, **changes: Any) -> Plan:
    return planned(experiment(**changes), tmp_path, None, cores, measured)


def line(plan: Plan, name: str, kind: str = "finetune", backbone: str = "egnn") -> Any:
    (found,) = [each for each in plan.lines if each.stage.key[1:] == (backbone, kind, name)]
    return found


@pytest.mark.usefixtures("worker")
def test_a_line_has_its_steps_and_passes(tmp_path: Path) -> None:
    """Twelve training structures in batches of four, three epochs; four to validate, four to test."""
    scratch = line(of(tmp_path), "scratch")
    assert [(e.steps, e.visits, e.epochs) for e in scratch.efforts] == [(9, 36, 3)] * 2
    seconds = scratch.seconds[0]
    assert seconds.training == pytest.approx(36 * STEP)
    assert seconds.validation == pytest.approx((3 + 1) * 4 * VALIDATION)  # once before any step
    assert (seconds.test, seconds.setup) == (pytest.approx(4 * TEST), SETUP)
    assert scratch.total == pytest.approx(2 * (seconds.total + START))
    assert scratch.total_flops == pytest.approx(2 * 36 * FLOPS["potential"])


@pytest.mark.usefixtures("worker")
def test_longer_runs_spend_what_the_pretraining_spends(tmp_path: Path) -> None:
    plan = of(tmp_path)
    assert line(plan, "mask", "pretrain").efforts[0].steps == 6  # two epochs
    assert line(plan, "longer-steps").efforts[0].steps == 9 + 6
    assert line(plan, "longer-compute").efforts[0].steps == 9 + 4  # masking takes two thirds of a step's FLOPs


@pytest.mark.usefixtures("worker")
def test_all_seeds_in_one_job_start_it_once(tmp_path: Path) -> None:
    one = line(of(tmp_path, seeds_per_job="all"), "scratch")
    assert one.total == pytest.approx(line(of(tmp_path), "scratch").total - START)


@pytest.mark.usefixtures("worker")
def test_a_pretraining_is_not_tested_whatever_its_task(tmp_path: Path) -> None:
    fitted = {"task": "potential", "training": TRAINING}
    plan = of(tmp_path, pretraining={"mask": fitted, "denoise": fitted})
    assert line(plan, "mask", "pretrain").seconds[0].test == 0.0


@pytest.mark.usefixtures("worker")
def test_trials_cost_as_often(tmp_path: Path) -> None:
    rates = {"learning_rate": [1e-3, 1e-4, 1e-5]}
    strategies = {
        "scratch": rates,
        "longer-steps": {"longer": "steps", "matching": "mask", **rates},
        "mask": {"pretraining": "mask", **rates},
    }
    found = line(of(tmp_path, strategies=strategies), "scratch")
    once = line(of(tmp_path), "scratch")
    assert found.stage.runs == 6
    assert found.total == pytest.approx(3 * once.total)
    assert found.total_flops == pytest.approx(3 * once.total_flops)


@pytest.mark.usefixtures("worker")
def test_the_sums_are_those_of_the_lines(tmp_path: Path) -> None:
    plan = of(tmp_path)
    lines = sum(each.total or 0.0 for each in plan.lines)
    simulated = 5 * (SIMULATED["begin"] + (500 + 4 * 50) * SIMULATED["step"])  # 1 ps in steps of 2 fs, then frames
    assert plan.parts["data"] == pytest.approx(simulated)
    assert plan.parts["other"] == pytest.approx(9 * START)
    assert sum(plan.parts.values()) == pytest.approx(lines + simulated + 9 * START)
    assert plan.parts["pretraining"] == pytest.approx(2 * 2 * 2 * 24 * STEP)  # backbones, tasks, seeds


@pytest.mark.usefixtures("worker")
def test_generation_is_taken_from_the_records_of_an_earlier_time(tmp_path: Path) -> None:
    records = tmp_path / "planned" / "benchmarks" / "acquire" / "water"
    records.mkdir(parents=True)
    for trajectory, seconds in ((0, 3.0), (1, 5.0)):
        (records / f"trajectory{trajectory}.tsv").write_text(f"s\th:m:s\n{seconds}\t0:00:03\n")
    plan = of(tmp_path)
    assert plan.parts["data"] == pytest.approx(5 * 4.0)
    assert any("by 2 records" in note for note in plan.notes)


def test_generation_is_not_simulated_unless_asked_for(worker: list[dict[str, Any]], tmp_path: Path) -> None:
    plan = of(tmp_path, measured=False)
    assert [call["function"].split(":")[1] for call in worker] == ["measure"]
    assert plan.parts["data"] == 0.0
    assert any("700 simulated steps each, not timed" in note for note in plan.notes)


@pytest.mark.usefixtures("worker")
def test_a_dataset_of_unknown_sizes_is_counted_but_not_summed(tmp_path: Path) -> None:
    mine = {"source": "extxyz", "path": "mine.xyz"}
    both, alone = of(tmp_path, datasets={"water": TIP3P, "mine": mine}), of(tmp_path)
    unknown = [each for each in both.lines if each.stage.dataset == "mine"]
    assert sum(each.stage.runs for each in unknown) == sum(each.stage.runs for each in alone.lines)
    assert {(each.efforts, each.total) for each in unknown} == {((), None)}
    assert both.parts["finetuning"] == alone.parts["finetuning"]
    assert "mine: sizes are unknown until it is read; it is not in the sums" in both.notes


@pytest.mark.usefixtures("worker")
def test_a_run_that_is_matched_to_what_is_unknown_is_unknown(tmp_path: Path) -> None:
    mine = {"source": "extxyz", "path": "mine.xyz", "pretraining_only": True}
    plan = of(
        tmp_path,
        datasets={"water": TIP3P, "mine": mine},
        pretraining={"mask": {"task": "masking", "training": TRAINING, "dataset": "mine"}},
        strategies={
            "scratch": {},
            "longer-steps": {"longer": "steps", "matching": "mask"},
            "mask": {"pretraining": "mask"},
        },
    )
    assert line(plan, "longer-steps").total is None
    assert line(plan, "mask").total is not None


def test_jobs_wait_for_what_they_need_and_for_a_core() -> None:
    chain = [Job(2.0), Job(3.0, (0,)), Job(4.0, (1,))]
    assert wall_seconds(chain, 8) == 9.0
    assert wall_seconds([Job(1.0)] * 5, 2) == 3.0
    assert wall_seconds([Job(4.0), *[Job(1.0)] * 4], 2) == 4.0  # the longest first
    assert wall_seconds([Job(1.0), Job(1.0), Job(1.0, (0, 1))], 2) == 2.0
    assert wall_seconds([], 2) == 0.0


@pytest.mark.usefixtures("worker")
def test_wall_time_is_that_of_the_work_and_of_the_longest_way(tmp_path: Path) -> None:
    one, many = of(tmp_path, cores=1), of(tmp_path, cores=1000)
    whole = sum(one.parts.values())
    assert one.wall == pytest.approx(whole)
    way = line(many, "mask", "pretrain").seconds[0].total + line(many, "mask").seconds[0].total + 2 * START
    longest = max(way, line(many, "longer-steps").seconds[0].total + way - line(many, "mask").seconds[0].total)
    assert many.wall == pytest.approx(SIMULATED["begin"] + 700 * SIMULATED["step"] + longest)
