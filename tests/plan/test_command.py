"""What is printed."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from priorbench.cli import main
from priorbench.plan import cost
from priorbench.plan.table import aligned, duration
from tests.plan.conftest import START, TIP3P, experiment


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to plan in, the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(place: Path, **changes: Any) -> str:
    """A file of the experiment."""
    path = place / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment(**changes).model_dump(mode="json")), encoding="utf-8")
    return str(path)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["plan", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.usefixtures("worker")
def test_the_table_fits_a_terminal_and_nothing_is_written(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = config(place)
    before = sorted(place.rglob("*"))
    text = printed(capsys, file, "--cores", "2")
    assert sorted(place.rglob("*")) == before
    assert max(map(len, text.splitlines())) <= 120
    assert text.startswith("Plan of planned: 28 runs, 2 seeds, a job each, on cpu.\n")
    for title in ("water, egnn: 24.0 atoms, 12/4/4 structures to train, validate, test", "water, gns: "):
        assert title in text
    row = next(line for line in text.splitlines() if line.startswith("  longer-steps"))
    assert row.split()[1:7] == ["2", "5", "12", "60", "0.00300", "10.0"]
    assert "Wall time on 2 cores: about" in text
    assert f"a job takes {START:.2g} s to start" in text


@pytest.mark.usefixtures("worker")
def test_json_has_the_same_numbers(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, config(place), "--json", "--cores", "3"))
    assert sum(line["runs"] for line in found["lines"]) == 28
    assert found["cores"] == 3
    assert found["total_seconds"] == pytest.approx(sum(found["seconds"].values()))
    (line,) = [each for each in found["lines"] if (each["backbone"], each["name"]) == ("gns", "longer-steps")]
    assert (line["steps"], line["structure_steps"]) == ([15, 15], [60, 60])
    assert found["sizes"]["water"]["train"] == [12, 12]


@pytest.mark.usefixtures("worker")
def test_unknown_sizes_are_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = {"source": "extxyz", "path": "mine.xyz"}
    text = printed(capsys, config(place, datasets={"water": TIP3P, "mine": mine}))
    assert "mine, egnn: sizes unknown until read" in text
    assert "mine: sizes are unknown until it is read; it is not in the sums" in text


@pytest.mark.usefixtures("worker")
def test_data_that_nobody_timed_are_not_in_the_wall_time(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = config(place)
    assert "without getting the data" not in printed(capsys, file)
    assert "without getting the data of water: about" in printed(capsys, file, "--no-measure")


@pytest.mark.usefixtures("worker")
def test_without_a_report_of_a_gpu_no_hours_are_predicted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, config(place, device="cuda"))
    assert "Seconds: not measured" in text
    assert "hours are not predicted" in text
    assert "Wall time" not in text


@pytest.mark.usefixtures("worker")
def test_faults_are_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([config(place), "--cores", "0"], ["none.yaml"], [config(place), "--machine", "none.json"]):
        assert main(["plan", *arguments]) == 1
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_real_steps_are_timed(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "SECONDS", 0.02)
    file = config(place, backbones={"egnn": {"architecture": "egnn", "layers": 1, "width": 8}})
    found = json.loads(printed(capsys, file, "--json"))
    assert all(line["seconds_per_structure_step"] > 0 for line in found["lines"])
    assert found["seconds"]["data"] > 0
    assert found["start_seconds_per_job"] > 0.2


def test_columns_and_durations() -> None:
    assert aligned([["a", "10"], ["bcd", "2"]]) == ["a    10", "bcd   2"]
    assert [duration(s) for s in (3.0, 150.0, 7200.0, 3e5)] == ["3.0 s", "2.5 min", "2.0 h", "3.5 days"]
