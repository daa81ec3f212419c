"""Experiments made again, whole or in part, leave what they left (``make check-long``).

Each check runs whole experiments in folders of their own.
"""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from tests.workflow import test_rerun as rerun
from tests.workflow.experiments import REPOSITORY, experiment

from priorbench.analysis.records import RUN_TIMES
from priorbench.io import read_json


def test_every_change_repeats_what_depends_on_it_and_nothing_else(tmp_path: Path) -> None:
    """The whole tables of changes, of which the tests plan those that no other stands for."""
    patterns = {name: change.repeats for name, change in (rerun.KEYS | rerun.OTHERS).items()}
    patterns |= {name: repeats for name, (_, _, repeats) in (rerun.DATA | rerun.DELETED).items()} | rerun.CODE
    plans = rerun.plans_after(patterns, tmp_path)
    wrong = {
        name: set(rerun.repeated(plans[name])) ^ set(rerun.expected(plans[name], repeats))
        for name, repeats in patterns.items()
        if repeats is not None
    }
    assert {name: jobs for name, jobs in wrong.items() if jobs} == {}


def without_times(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if key not in RUN_TIMES} for row in csv.DictReader(file)]


def verdicts(results: Path) -> list[dict[str, Any]]:
    """All verdicts with their cases, but for C5 in seconds, which decides nothing."""
    claims: list[dict[str, Any]] = read_json(results / "claims.json")["claims"]
    for claim in claims:
        claim["cases"] = [case for case in claim["cases"] if not case["part"].endswith("seconds")]
    return claims


def test_an_experiment_repeats_bit_for_bit(tmp_path: Path) -> None:
    first, second = (experiment("workflow/presets/ci.yaml", tmp_path / name) for name in ("first", "second"))
    binary = sorted(p.relative_to(first) for p in first.rglob("*") if p.suffix in (".safetensors", ".npz"))
    binary += [Path(p.relative_to(first)) for p in first.glob("data/*/split-*.json")]
    assert len(binary) > 40
    assert [p for p in binary if (first / p).read_bytes() != (second / p).read_bytes()] == []
    same = [p.relative_to(first) for p in first.rglob("test.json")]
    same += [Path(f"{name}.csv") for name in ("structures", "trials", "details", "parity")]
    assert [p for p in same if (first / p).read_text() != (second / p).read_text()] == []
    assert verdicts(first) == verdicts(second)
    rows = [
        Path("runs.csv"),
        Path("curves.csv"),
        Path("tables/rmse.csv"),
        *(p.relative_to(first) for p in first.rglob("metrics.csv")),
    ]
    assert [p for p in rows if without_times(first / p) != without_times(second / p)] == []


TIMES = re.compile(r"seconds|structures_per_s|_s$|time|date|epoch_s|host|attempts")
#: Made of seconds among other things, or dated; convergence is drawn by epoch and by second.
TIMED = {"accounting.json", "report.html", "snakemake-report.html", "rmse.md", "rmse.tex", "claims.md"}
TIMED |= {"convergence.pdf", "convergence.png"}


def contents(results: Path) -> dict[str, str]:
    """A digest of every file of an experiment but its logs; what was measured in seconds is left out."""
    found = {}
    for path in sorted(path for path in results.rglob("*") if path.is_file()):
        name = str(path.relative_to(results))
        if path.name in TIMED or path.suffix in (".tsv", ".log"):
            continue
        content: bytes = path.read_bytes()
        if path.suffix == ".csv":
            rows = list(csv.DictReader(content.decode().splitlines()))
            content = json.dumps([{k: v for k, v in row.items() if not TIMES.search(k)} for row in rows]).encode()
        elif path.name == "claims.json":
            content = json.dumps(verdicts(results)).encode()
        elif path.suffix == ".json":
            content = json.dumps(untimed(json.loads(content))).encode()
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: untimed(part) for key, part in value.items() if not TIMES.search(key)}
    return [untimed(part) for part in value] if isinstance(value, list) else value


def test_a_deleted_output_comes_back_as_it_was(tmp_path: Path) -> None:
    """One output of every rule in turn; data are asked for by name, since nothing reads them any more."""
    content = yaml.safe_load((REPOSITORY / "workflow/presets/ci.yaml").read_text())
    content["backbones"] = {"gns": content["backbones"]["gns"]}
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile", "--directory", tmp_path]
    command += ["--cores", "2", "--configfile", config, "--quiet", "all"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment)
    before = contents(tmp_path / "results/ci")
    summary = subprocess.run([*command, "--summary"], check=True, env=environment, capture_output=True, text=True)
    outputs = {row.split("\t")[2]: row.split("\t")[0] for row in summary.stdout.splitlines()[1:]}
    assert len(outputs) > 15
    changed = {}
    for rule, output in outputs.items():
        (tmp_path / output).unlink()
        by_name = [output] if rule in ("acquire", "convert", "neighbours", "split") else []
        subprocess.run([*command[:3], *by_name, *command[3:]], check=True, env=environment)
        assert (tmp_path / output).exists(), rule
        after = contents(tmp_path / "results/ci")
        changed[rule] = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    assert {rule: names for rule, names in changed.items() if names} == {}
