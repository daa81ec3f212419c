"""Where every number comes from: the runs with their hashes, and the commands that make each table and figure."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from priorbench.analysis.text import number
from priorbench.report.parts import Part
from priorbench.report.tables import Cell, Row, Table, quantity, text

_NAMES = ("dataset", "backbone", "stage", "strategy")
_CODES = ("config_hash", "data_hash", "split_hash", "commit")
_HEADER = [
    *("dataset", "backbone", "stage", "strategy", "seed", "status", "seconds", "device", "threads"),
    *("configuration", "data", "split", "commit", "version"),
]
_WORDS = 4


@dataclass(frozen=True)
class Made:
    """A file of the experiment and the command that makes it."""

    what: str
    files: str
    command: str


def provenance(parts: list[Part]) -> Table:
    """One row a run, pretrainings too."""
    several, more = len(parts) > 1, any(part.runs["torch"].notna().any() for part in parts)
    header = [*(["question"] if several else []), *_HEADER, *(["torch"] if more else [])]
    rows = [_row(part, run, several, more) for part in parts for run in part.runs.to_dict("records")]
    numeric = [name in ("seed", "seconds", "threads") for name in header]
    caption = "Every run. Hashes: the first ten digits; the whole ones are in runs.csv. Select a head to sort."
    return Table("runs", caption, header, rows, numeric, _WORDS - 1 + several)


def _row(part: Part, run: Mapping[Hashable, Any], several: bool, more: bool) -> Row:
    status = str(run["status"])
    seconds = _real(run["seconds"])
    cells = [
        *([text(part.name)] if several else []),
        *(text(run[name]) for name in _NAMES),
        quantity(str(run["seed"]), _real(run["seed"])),
        text(status, kind="" if status == "completed" else "warning"),
        quantity(number(seconds), seconds),
        text(run["device"]),
        quantity(str(run["threads"]), _real(run["threads"])),
        *(Cell(str(run[name] or "–")[:10], str(run[name] or ""), kind="code") for name in _CODES),
        text(run["version"] or "–"),
        *([text(run["torch"] or "–")] if more else []),
    ]
    return Row(cells)


def _real(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def reproduce(parts: list[Part], config: str) -> list[Made]:
    """The command for each table and figure; only for what the experiment has."""

    def command(target: str) -> str:
        return f"snakemake {target} --cores all --configfile {config}"

    answered = any(part.answer for part in parts)
    rows = [
        ("Everything", "this page and all below", "all"),
        ("Tables of errors", "tables/rmse.csv, rmse.md, rmse.tex; the leaderboard", "tables"),
        ("Figures", "figures/convergence, figures/rmse; convergence", "figures"),
        ("Intervals and comparisons", "statistics.json; change against scratch", "statistics"),
        ("Verdicts", "claims.json, claims.md", "judge_claims"),
        ("Answer", "answer/: figure, table, rule, verdict", "answer"),
        ("Runs and curves", "runs.csv, curves.csv, structures.csv, trials.csv", "collect"),
        ("Data and its cards", "data/<dataset>/", "data"),
        ("This page", "report.html", "report"),
    ]
    left_out = {"judge_claims"} if answered else {"answer"}
    return [Made(what, files, command(target)) for what, files, target in rows if target not in left_out]
