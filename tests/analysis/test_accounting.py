"""Where the time went: synthetic records whose sums are known."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from priorbench.analysis.accounting import PARTS, accounting, lines
from priorbench.analysis.summary import summary
from priorbench.errors import PriorbenchError
from priorbench.io import write_json

START = 1_700_000_000.0
HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def job(root: Path, name: str, begin: float, end: float) -> None:
    """A benchmark as Snakemake leaves it when a job ends; times in s after START."""
    path = root / "benchmarks" / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}{end - begin:.4f}\t0:00:01\t1\t1\t1\t1\t0\t0\t90\tNA\n")
    os.utime(path, (START + end, START + end))


def record(root: Path, name: str, end: float, **seconds: float) -> None:
    path = root / name / "run.json"
    write_json(path, seconds)
    os.utime(path, (START + end, START + end))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten seconds of data, then two cores for 20 s: one pretraining and finetuning of two seeds, then a figure."""
    job(tmp_path, "acquire/water/part0", 0, 8)
    job(tmp_path, "split/water-seed0", 8, 10)
    job(tmp_path, "pretrain/water/net/mask/all-seeds", 10, 20)
    job(tmp_path, "finetune/water/net/scratch/all-seeds", 10, 20)
    job(tmp_path, "finetune/water/net/mask/seed1", 20, 26)
    job(tmp_path, "figures", 26, 30)
    for seed in (0, 1):
        record(tmp_path, f"pretrained/water/net/mask/seed{seed}", 19, seconds=3, validation_seconds=1)
        parts = {"seconds": 2.5, "validation_seconds": 1.0, "evaluation_seconds": 0.5}
        record(tmp_path, f"runs/water/net/scratch/seed{seed}", 19, **parts)
        record(tmp_path, f"runs/water/net/mask/seed{seed}", 25, **parts)
    return tmp_path


def read(root: Path) -> dict[str, Any]:
    return json.loads((root / "accounting.json").read_text())


def test_every_second_of_every_core_is_somewhere(root: Path) -> None:
    accounting(root, "2")
    content = read(root)
    assert (content["wall_seconds"], content["cores"], content["jobs"]) == (pytest.approx(30), 2, 6)
    expected = {
        "data": 10,
        "training": 8 + 7 + 3.5,
        "setup": 2 + 2 + 2,
        "evaluation": 1 + 0.5,
        "analysis": 4,
        "rest": 20,
    }
    assert content["core_seconds"] == pytest.approx(expected)
    assert sum(content["core_seconds"].values()) == pytest.approx(60)
    assert content["outside"] == pytest.approx((60 - 10 - 18.5) / 60)


def test_a_job_of_one_seed_has_the_record_of_that_seed_alone(root: Path) -> None:
    record(root, "runs/water/net/mask/seed1", 25, seconds=4, validation_seconds=1, evaluation_seconds=0.5)
    record(root, "runs/water/net/mask/seed11", 25, seconds=100, validation_seconds=1)
    accounting(root, "2")
    assert read(root)["core_seconds"]["training"] == pytest.approx(8 + 7 + 5)


def test_what_an_earlier_job_left_is_not_counted_again(root: Path) -> None:
    """Records of a seed that is no longer in the configuration stay where they are."""
    record(root, "runs/water/net/scratch/seed9", -100, seconds=50, validation_seconds=1, evaluation_seconds=1)
    accounting(root, "2")
    assert read(root)["core_seconds"]["training"] == pytest.approx(18.5)


def test_only_jobs_since_the_start_count_and_time_runs_until_now(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: START + 32)
    accounting(root, "2", START + 19.5)
    content = read(root)
    assert (content["wall_seconds"], content["jobs"]) == (pytest.approx(12.5), 2)
    expected = {"data": 0, "training": 3.5, "setup": 2, "evaluation": 0.5, "analysis": 4, "rest": 15}
    assert content["core_seconds"] == pytest.approx(expected)


def test_where_nothing_was_done_the_last_account_stays(root: Path) -> None:
    accounting(root, "2")
    before = (root / "accounting.json").read_bytes()
    accounting(root, "2", START + 1000)
    assert (root / "accounting.json").read_bytes() == before


def test_the_account_of_a_question_goes_to_its_own_folder(root: Path) -> None:
    (root / "q4").mkdir()
    accounting(root, "2", output=root / "q4")
    assert (root / "q4/accounting.json").is_file()
    assert not (root / "accounting.json").exists()


def test_lines_have_every_part_with_its_share(root: Path) -> None:
    accounting(root, "2")
    text = lines(read(root))
    assert len(text) == len(PARTS) + 1
    assert text[0].split()[-4:] == ["10.0", "s", "16.7", "%"]
    assert text[-1].startswith("neither data nor training")
    assert text[-1].split()[-4:] == ["31.5", "s", "52.5", "%"]


def test_the_summary_says_where_the_time_went(make, root: Path) -> None:
    experiment = make().analyse()
    assert "time went" not in summary(experiment.root)
    accounting(root, "2")
    (experiment.root / "accounting.json").write_bytes((root / "accounting.json").read_bytes())
    text = summary(experiment.root)
    assert "6 jobs in 30 s on 2 cores" in text
    assert PARTS["setup"] in text


@pytest.mark.parametrize("cores", ["0", "-1", "two", ""])
def test_impossible_cores_are_refused(root: Path, cores: str) -> None:
    with pytest.raises(PriorbenchError, match="--cores"):
        accounting(root, cores)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system cannot say")
def test_all_cores_are_those_of_this_process(root: Path) -> None:
    accounting(root, "all")
    assert read(root)["cores"] == len(os.sched_getaffinity(0))


def test_damaged_records_are_named(root: Path) -> None:
    figures = root / "benchmarks" / "figures.tsv"
    figures.write_text("nothing")
    with pytest.raises(PriorbenchError, match=r"figures\.tsv: no benchmark"):
        accounting(root, "2")
    figures.unlink()
    record(root, "runs/water/net/scratch/seed0", 19, seconds=3)
    with pytest.raises(PriorbenchError, match="validation_seconds"):
        accounting(root, "2")
