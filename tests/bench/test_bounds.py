import pytest

from priorbench.bench.bounds import FINETUNE, bounds, bounds_table
from tests.bench.conftest import parallel_row, report, scale_rows


def judged(content: dict) -> dict[tuple[str, str], dict]:
    return {(row["bound"], row["where"]): row for row in bounds(content)}


def with_units(backbone: str, task: str, atoms: int, units: float) -> dict:
    """A report in which one cell's best step takes so many matmul units."""
    content = report()
    for row in content["suites"]["steps"]:
        if (row["backbone"], row["task"], row["atoms"]) == (backbone, task, atoms):
            found = row["priorbench"]
            found["matmul_units"], found["best_ms"] = 2 * units, found["ms"] / 2
    return content


@pytest.mark.parametrize(("backbone", "atoms"), FINETUNE)
def test_units_are_judged_by_the_best_step(backbone: str, atoms: int) -> None:
    must, goal = FINETUNE[backbone, atoms]
    for units, met, goal_met in ((1.01 * must, False, False), (0.99 * must, True, False), (0.9 * goal, True, True)):
        row = judged(with_units(backbone, "potential", atoms, units))["units of finetuning", f"{backbone} {atoms}"]
        assert row["measured"] == pytest.approx(units)
        assert (row["met"], row["goal_met"]) == (met, goal_met)


def test_masking_is_judged_by_the_finetuning_that_was_reached() -> None:
    name = "masking over finetuning", "egnn 192"
    reached = judged(report())["units of finetuning", "egnn 192"]["measured"]
    for share, met in ((0.76, False), (0.74, True)):
        row = judged(with_units("egnn", "masking", 192, share * reached))[name]
        assert row["measured"] == pytest.approx(share)
        assert row["met"] == met


def test_of_several_cells_the_worst_counts() -> None:
    content = report()
    first, *_, last = content["suites"]["steps"]  # egnn masking 192, forcenet potential 774
    first["ratio"], last["priorbench"]["peak_memory_gb"] = 2.4, 2.5
    content["suites"]["startup"] = [{"backbone": "gns", "seconds": s} for s in (3.0, 5.0, 2.0)]
    rows = judged(content)
    for name, measured, met in (
        (("speed over textbook", "egnn"), 2.4, False),
        (("speed over textbook", "gns"), 2.5, True),
        (("GB at 774 atoms", "forcenet"), 2.5, False),
        (("GB at 774 atoms", "gns"), 0.5, True),
        (("s to the first step", "gns"), 5.0, False),
        (("share of data in a step", "masking"), 0.1, False),
    ):
        assert rows[name]["measured"] == pytest.approx(measured)
        assert rows[name]["met"] == met


@pytest.mark.parametrize(("ratios", "met"), [((1.7, 1.0), (True, True)), ((1.6, 1.2), (False, True))])
def test_processes_and_sizes_have_bounds(ratios: tuple[float, float], met: tuple[bool, bool]) -> None:
    content = {**report([]), "suites": {"parallel": [parallel_row(*ratios)], "scale": scale_rows(0.06)}}
    rows = judged(content)
    assert rows["2 processes over 1 thread", "egnn 192"]["met"] == met[0]
    assert rows["2 processes over 2 threads", "egnn 192"]["met"] == met[1]
    name = "cost of an atom over smallest"
    assert rows[name, "gns inference"]["measured"] == pytest.approx(1.12)
    assert rows[name, "egnn training"]["measured"] == pytest.approx(1.06)  # the last was left out
    assert not judged({**content, "suites": {"scale": scale_rows(0.1)}})[name, "gns training"]["met"]


def test_a_gpu_has_its_own() -> None:
    content = report()
    content["machine"]["device"] = "cuda"
    for row in content["suites"]["steps"]:
        row["ratio"] = 21.0 if row["atoms"] == 192 else 3.0
        row["priorbench"] |= {"outside": 0.06 if row["task"] == "masking" else 0.04, "matmul_share": 0.31}
    rows = judged(content)
    assert {row["bound"] for row in rows.values()} == {
        *("speed over textbook", "share of a step outside its graph", "share of matrix product rate"),
    }
    assert rows["speed over textbook", "gns"]["met"]
    assert not rows["share of a step outside its graph", "masking"]["met"]
    assert rows["share of a step outside its graph", "potential"]["met"]
    assert rows["share of matrix product rate", "gns"]["met"]


def test_there_are_none_for_other_batches() -> None:
    content = report()
    content["suites"]["startup"] = []
    for row in content["suites"]["steps"]:
        row["batch_size"] = 8
    assert bounds(content) == []


def test_the_table_says_by_how_much() -> None:
    rows = bounds(with_units("egnn", "potential", 192, 12.0))
    table = bounds_table(rows)
    line = next(line for line in table.rows if line[:2] == ["units of finetuning", "egnn 192"])
    assert line[2:] == ["most", "15", "10", "12.0", "met by 20 %, goal missed by 20 %"]
    assert max(map(len, table.aligned().splitlines())) <= 120
    assert f"of {len(rows)} met" in table.caption
