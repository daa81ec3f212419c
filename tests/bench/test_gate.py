from pathlib import Path

import pytest

from priorbench.bench.gate import compare, judge, load_report, table
from priorbench.errors import PriorbenchError
from priorbench.io import write_json
from tests.bench.conftest import packed_row, parallel_row, report, row, scale_rows

FILE = Path("earlier.json")


def scaled(factor: float, cells: int = 1):
    """A report whose first ``cells`` take ``factor`` times their units."""
    now = report()
    for cell in now["suites"]["steps"][:cells]:
        cell["priorbench"]["matmul_units"] *= factor
    return now


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.14])
def test_as_fast_as_before_passes(factor: float) -> None:
    (line,) = judge(compare(report(), scaled(factor)), FILE, 0.15)
    assert line == "no cell of 18 takes more than 15 % more units than in earlier.json"


def test_a_slower_cell_fails_in_one_line() -> None:
    with pytest.raises(PriorbenchError) as caught:
        judge(compare(report(), scaled(1.2, cells=2)), FILE, 0.15)
    assert str(caught.value) == (
        "2 of 18 cells take more than 15 % more matmul units than in earlier.json: "
        "steps-egnn-masking-192-16 +20.0 %, steps-egnn-masking-774-16 +20.0 %"
    )
    assert judge(compare(report(), scaled(1.2)), FILE, 0.25)


def test_the_best_step_is_judged_not_the_median() -> None:
    now = report()
    cell = now["suites"]["steps"][0]["priorbench"]
    slower = {"ms": 2 * cell["ms"], "matmul_units": 2 * cell["matmul_units"]}
    cell.update(slower)
    assert judge(compare(report(), now), FILE, 0.15)
    cell["best_ms"] *= 1.2
    with pytest.raises(PriorbenchError, match=r"1 of 18 cells .* steps-egnn-masking-192-16 \+20\.0 %"):
        judge(compare(report(), now), FILE, 0.15)


def test_every_suite_with_units_is_judged() -> None:
    earlier, now = report(), report()
    for content, factor in ((earlier, 1.0), (now, 1.2)):
        content["suites"] |= {
            "parallel": [parallel_row(1.8, 1.0)],
            "packed": [packed_row("gns", "masking", 1.1)],
            "scale": scale_rows(),
        }
        for name in ("parallel", "packed", "scale"):
            found = content["suites"][name][-1]
            found["matmul_units"] *= factor
    with pytest.raises(PriorbenchError) as caught:
        judge(compare(earlier, now), FILE, 0.15)
    text = str(caught.value)
    assert text.startswith("3 of 31 cells")  # 18, and 12 sizes of which one was left out
    for name in ("parallel-egnn-192-16", "packed-gns-masking-192-16", "scale-gns-training-24576"):
        assert f"{name} +20.0 %" in text


def test_only_priorbench_is_judged() -> None:
    now = report()
    for cell in now["suites"]["steps"]:
        cell["textbook"]["matmul_units"] *= 3
    assert judge(compare(report(), now), FILE, 0.15)


@pytest.mark.parametrize(("key", "value"), [("cpu", "another"), ("threads", 1), ("device", "cuda"), ("gpu", "H100")])
def test_another_kind_of_machine_is_not_judged(key: str, value: object) -> None:
    now = scaled(2.0)
    now["machine"][key] = value
    (line,) = judge(compare(report(), now), FILE, 0.15)
    assert line.startswith(f"not judged, the machines are of different kinds: {key} ")
    assert str(value) in line


def test_missing_cells_are_named() -> None:
    earlier = report([row("egnn", "masking", 192), row("gns", "masking", 192)])
    now = report([row("gns", "masking", 192), row("gns", "masking", 774)])
    lines = judge(compare(earlier, now), FILE, 0.15)
    assert lines[:2] == [
        "not in earlier.json: steps-gns-masking-774-16",
        "in earlier.json, but not measured now: steps-egnn-masking-192-16",
    ]
    text = table(compare(earlier, now), FILE).aligned()
    assert text.count("\nsteps") == 3
    assert "+0.0 %" in text


def test_another_batch_size_is_another_cell() -> None:
    now = report([row("gns", "masking", 192) | {"batch_size": 8}])
    with pytest.raises(PriorbenchError, match="no cell in common"):
        judge(compare(report(), now), FILE, 0.15)


@pytest.mark.parametrize("content", [[], {}, {"format": 0, "machine": {}, "suites": {}}, {"format": 1}])
def test_what_is_no_report_is_refused(tmp_path: Path, content: object) -> None:
    write_json(tmp_path / "x.json", content)
    with pytest.raises(PriorbenchError, match=r"x\.json: not a report of priorbench bench"):
        load_report(tmp_path / "x.json")
