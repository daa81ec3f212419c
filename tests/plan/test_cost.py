"""Prices: counted FLOPs grow with the atoms, seconds are those that were timed or follow from a report."""

from pathlib import Path
from typing import Any

import pytest

from priorbench.errors import PriorbenchError
from priorbench.io import write_json
from priorbench.plan import cost, share, worker
from priorbench.plan.cost import priced
from priorbench.plan.prices import Prices
from priorbench.plan.sizes import Sizes
from priorbench.plan.stages import stages_of
from tests.plan.conftest import FLOPS, SETUP, START, STEP, TEST, VALIDATION, experiment, sizes

MASK = ("water", "egnn", "pretrain", "mask")
SCRATCH = ("water", "egnn", "finetune", "scratch")
NARROW = 8 / 128  # width of the networks over that of the report's


def prices(machine: Path | None = None, measured: bool = True, known: Sizes | None = None, **changes: Any) -> Prices:
    config = experiment(**changes)
    found = {"water": known or sizes()}
    return priced(stages_of(config, found), found, config.device, machine, measured)


def report(device: str = "cpu", **machine: Any) -> dict[str, Any]:
    """A committed report: 100 GFLOP/s on two threads, of which EGNN reaches a fifth in finetuning."""
    measured = {"ms": 10.0, "matmul_share": 0.2, "phases_ms": {"forward": 4.0}}
    rows = [
        {"backbone": "egnn", "task": "potential", "atoms": 192, "priorbench": measured},
        {"backbone": "egnn", "task": "potential", "atoms": 774, "priorbench": {**measured, "matmul_share": 0.3}},
        {"backbone": "egnn", "task": "masking", "atoms": 192, "priorbench": {**measured, "matmul_share": 0.1}},
    ]
    own = {"device": device, "cpu": "a processor", "gpu": None, "cores": 2, "threads": 2, "matmul_gflops": 100.0}
    startup = [{"seconds": 1.5}, {"seconds": 1.7}, {"seconds": 2.5}]
    return {"format": 1, "machine": {**own, **machine}, "suites": {"steps": rows, "startup": startup}}


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of reports, with one."""
    monkeypatch.setattr(share, "REPORTS", tmp_path)
    write_json(tmp_path / "machine.json", report())
    return tmp_path


def test_seconds_are_those_that_were_timed(worker: list[dict[str, Any]]) -> None:
    found = prices()
    assert found.start == START
    scratch, mask = found.of[SCRATCH], found.of[MASK]
    assert (scratch.flops, scratch.step, scratch.setup) == (FLOPS["potential"], STEP, SETUP)
    assert (scratch.validation, scratch.test) == (VALIDATION, TEST)
    assert (mask.flops, mask.test) == (FLOPS["masking"], 0.0)  # a pretraining is not tested
    assert "timed here" in found.basis


def test_the_end_of_a_process_belongs_to_its_start(
    worker: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = iter([10.0, 13.0])  # CPU seconds of children; the worker knows of none of its three
    monkeypatch.setattr(cost, "_of_children", lambda: next(usage))
    assert prices().start == START + 3.0


def test_what_costs_the_same_is_measured_once(worker: list[dict[str, Any]]) -> None:
    prices()
    (call,) = worker
    cells = [(cell["backbone"]["name"], cell["task"]["name"]) for cell in call["cells"]]
    assert sorted(cells) == [(b, t) for b in ("egnn", "gns") for t in ("denoising", "masking", "potential")]


@pytest.mark.parametrize(
    ("train", "atoms", "batch", "measured"),
    [(12, 24, 4, 4), (3, 24, 4, 3), (100, 192, 16, 10), (100, 774, 16, 2), (100, 5000, 16, 1)],
)
def test_batches_measured_are_no_larger_than_what_a_step_takes_at_once(
    worker: list[dict[str, Any]], train: int, atoms: int, batch: int, measured: int
) -> None:
    finetuning = {"task": "potential", "training": {"epochs": 1, "batch_size": batch}}
    prices(known=sizes(train, atoms=atoms), finetuning=finetuning)
    (cell,) = [c for c in worker[0]["cells"] if c["task"]["name"] == "potential" and c["backbone"]["name"] == "gns"]
    assert (cell["batch"], len(cell["sample"]["atoms"])) == (measured, measured)


def test_costs_of_a_few_structures_are_scaled_to_the_mean_of_all(worker: list[dict[str, Any]]) -> None:
    mixed = Sizes("options", sizes().counts, [12] * 3 + [24] * 9, list(range(12)), 20, True)
    finetuning = {"task": "potential", "training": {"epochs": 1, "batch_size": 1}}
    found = prices(known=mixed, finetuning=finetuning).of[SCRATCH]  # counted on one of 24 atoms, the mean is 21
    assert found.step == pytest.approx(STEP * 21 / 24)
    assert found.flops == pytest.approx(FLOPS["potential"] * 21 / 24)
    assert found.setup == SETUP


def test_another_machine_is_slower_by_its_matrix_product(worker: list[dict[str, Any]], reports: Path) -> None:
    write_json(reports / "slow.json", report(cpu="a slow one", matmul_gflops=20.0))  # 10 a core, 50 here
    found = prices(machine=reports / "slow.json")
    assert worker[0]["rated"]
    assert found.of[SCRATCH].step == pytest.approx(5 * STEP)
    assert found.start == pytest.approx(5 * START)
    assert "times 5.00 for a slow one" in found.basis


def test_without_timing_seconds_follow_from_the_share_of_a_report(worker: list[dict[str, Any]], reports: Path) -> None:
    found = prices(measured=False)
    assert not worker[0]["timed"]
    step = FLOPS["potential"] / (0.2 * NARROW * 50e9)  # a fifth of a core's rate
    assert found.of[SCRATCH].step == pytest.approx(step)
    assert found.of[SCRATCH].validation == found.of[SCRATCH].test == pytest.approx(0.4 * step)
    assert found.of[MASK].step == pytest.approx(FLOPS["masking"] / (0.1 * NARROW * 50e9))
    assert found.start == 1.7
    assert "not timed; share of the matrix product rate in the report of a processor" in found.basis


def test_a_share_is_of_the_rate_around_its_cell(worker: list[dict[str, Any]], reports: Path) -> None:
    before = prices(measured=False).of[SCRATCH].step
    content = report()
    for row in content["suites"]["steps"]:
        row["matmul_gflops"] = 200.0  # the machine's is 100
    write_json(reports / "machine.json", content)
    after = prices(measured=False).of[SCRATCH].step
    assert before is not None
    assert after == pytest.approx(before / 2)


def test_a_report_without_steps_is_passed_over(worker: list[dict[str, Any]], reports: Path) -> None:
    content = report()
    content["suites"] = {"scale": []}
    write_json(reports / "a-first.json", content)
    assert prices(measured=False).start == 1.7


def test_what_the_report_has_not_is_said(worker: list[dict[str, Any]], reports: Path) -> None:
    notes = prices(measured=False).notes
    width = "shares are those of networks of width 128, not 8, taken as 0.0625 of them, in proportion: a rough guess"
    assert notes.count(width) == 1
    assert "the report has no gns potential: the share is that of egnn potential" in notes


def test_a_gpu_without_a_report_has_flops_alone(worker: list[dict[str, Any]], reports: Path) -> None:
    found = prices(device="cuda")
    assert not worker[0]["timed"]
    assert found.of[SCRATCH].flops == FLOPS["potential"]
    assert found.of[SCRATCH].step is None
    assert found.start is None
    assert "not measured" in found.basis


def test_a_gpu_is_judged_by_the_report_of_one(worker: list[dict[str, Any]], reports: Path) -> None:
    write_json(reports / "gpu.json", report("cuda", gpu="a GPU", matmul_gflops=50_000.0))
    found = prices(device="cuda")
    assert found.of[SCRATCH].step == pytest.approx(FLOPS["potential"] / (0.2 * NARROW * 50e12))
    with pytest.raises(PriorbenchError, match="measured on cpu, the experiment is for cuda"):
        prices(machine=reports / "machine.json", device="cuda")


def counted(atoms: int, task: str = "potential", batch: int = 2) -> float:
    """FLOPs of a structure-step as the worker itself counts them."""
    cell = {
        "sample": {"cutoff": 3.5, "atoms": [atoms] * batch, "periodic": True, "frames": None, "structures": []},
        "backbone": {"name": "any", "architecture": "egnn", "cutoff": 3.5, "layers": 1, "width": 8},
        "task": {"name": task},
        "training": {"epochs": 1, "batch_size": batch},
        "batch": batch,
    }
    answer = worker.measure([cell], 0.0, timed=False, rated=False)
    return float(answer["costs"][0]["flops"])


def test_flops_grow_with_the_atoms() -> None:
    assert counted(96) == pytest.approx(2 * counted(48), rel=0.01)  # as many edges an atom
    assert counted(48, batch=4) == pytest.approx(counted(48, batch=2), rel=0.01)
    assert counted(48, "masking") < 0.8 * counted(48)  # a sixth of the atoms is gone


def test_the_first_call_is_not_among_those_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lengths = [0.0], iter([9.0, 2.0, 1.0, 3.0])

    def work() -> None:
        clock[0] += next(lengths)

    monkeypatch.setattr(worker.time, "process_time", lambda: clock[0])
    assert worker.repeated(work, 15.0) == (9.0, 2.0)


def test_a_step_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = {
        "sample": {"cutoff": 3.5, "atoms": [24, 24], "periodic": True, "frames": None, "structures": []},
        "backbone": {"name": "any", "architecture": "egnn", "cutoff": 3.5, "layers": 1, "width": 8},
        "task": {"name": "potential"},
        "training": {"epochs": 1, "batch_size": 2},
        "batch": 2,
    }
    calls: list[float] = []

    def repeated(work: Any, seconds: float) -> tuple[float, float]:
        work()
        calls.append(seconds)
        return 10.0, 4.0

    monkeypatch.setattr(worker, "repeated", repeated)
    (found,) = worker.measure([cell], 0.4, timed=True, rated=False)["costs"]
    assert calls == [0.4, 0.1, 0.1]
    assert (found["step"], found["validation"], found["test"]) == (2.0, 2.0, 2.0)  # of two structures
    assert found["setup"] > 6.0  # what the first step takes longer
