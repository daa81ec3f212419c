"""Kept results: what stands in their statistics, tables and verdicts follows from their run tables, by today's code."""

import json
from pathlib import Path

import pytest
import yaml
from matplotlib.figure import Figure

from priorbench.analysis.claims import claims
from priorbench.analysis.figures import figures
from priorbench.analysis.records import load_runs
from priorbench.analysis.statistics import statistics
from priorbench.analysis.tables import tables
from priorbench.config import Evidence
from priorbench.questions.answer import answer
from priorbench.redraw import parse_redraw
from tests.faults.stages import sketch

KEPT = Path(__file__).parents[1] / "results/reference"
REFERENCES = sorted(path.parent for path in KEPT.glob("**/runs.csv"))
every_reference = pytest.mark.parametrize("kept", REFERENCES, ids=lambda path: path.name)


def close(a, b) -> bool:
    """Equal but for rounding in the last digits, which may differ between processors."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(close, a, b))
    return a == pytest.approx(b, rel=1e-9) if isinstance(a, float) else a == b


def test_there_are_kept_results():
    assert REFERENCES


@every_reference
def test_statistics_and_verdicts_follow_from_the_runs(kept: Path, tmp_path: Path):
    evidence = Evidence().model_dump()
    structures = kept / "structures.csv" if (kept / "structures.csv").is_file() else None
    statistics(kept / "runs.csv", kept / "curves.csv", tmp_path / "statistics.json", structures)
    claims(kept / "runs.csv", kept / "curves.csv", tmp_path / "statistics.json", evidence, tmp_path)
    tables(kept / "runs.csv", tmp_path / "statistics.json", evidence, tmp_path / "tables")
    for name in ("statistics.json", *(["claims.json"] if kept.parent == KEPT else [])):
        assert close(json.loads((tmp_path / name).read_text()), json.loads((kept / name).read_text())), name
    assert (tmp_path / "tables/rmse.md").read_text() == (kept / "tables/rmse.md").read_text()


@pytest.mark.parametrize("kept", [path for path in REFERENCES if path.parent != KEPT], ids=lambda path: path.name)
def test_answers_follow_from_the_runs(kept: Path, tmp_path: Path):
    tables = [kept / name for name in ("runs.csv", "curves.csv", "statistics.json")]
    more = [path if path.is_file() else None for path in (kept / "probes.csv", kept / "structures.csv")]
    answer(kept.name, *tables, Evidence().model_dump(), tmp_path, *more)
    found, expected = (json.loads((folder / "answer.json").read_text()) for folder in (tmp_path, kept / "answer"))
    assert close(found, expected)
    assert (tmp_path / "answer.md").read_text() == (kept / "answer/answer.md").read_text()


def test_everything_kept_can_be_redrawn():
    root = KEPT.parents[1]
    preset = root / "workflow/presets/reference.yaml"
    entries = parse_redraw(yaml.safe_load(preset.read_text()), str(preset)).values()
    assert sorted(root / entry.folder for entry in entries) == REFERENCES


@every_reference
def test_every_run_says_where_it_comes_from(kept: Path):
    runs = load_runs(kept / "runs.csv")
    for column in ("config_hash", "data_hash", "split_hash", "version", "commit", "initial_checksum", "device"):
        assert runs[column].notna().all(), column
    assert not runs["commit"].str.endswith("+").any()
    assert "unknown" not in set(runs["commit"])


@every_reference
def test_figures_are_made_from_kept_tables(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All but the drawing, which `snakemake figures` does for every one of them in CI."""
    monkeypatch.setattr(Figure, "savefig", sketch)
    figures(kept / "runs.csv", kept / "curves.csv", kept / "statistics.json", tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {f"{n}.{s}" for n in ("convergence", "rmse") for s in ("pdf", "png")}
