"""What ``make run`` prints at the end: the table, the verdicts, whether the numbers can carry them, where time went."""

from pathlib import Path
from typing import Any

from priorbench.analysis import accounting
from priorbench.analysis.cases import correction, joined
from priorbench.analysis.results import (
    Comparison,
    PretrainingResult,
    Statistics,
    load_answer,
    load_claims,
    load_statistics,
)
from priorbench.analysis.text import MISSING, change, number
from priorbench.errors import PriorbenchError
from priorbench.io import read_object

_PLACES = (
    "report.html",
    "snakemake-report.html",
    "tables/rmse.md",
    "figures/convergence.pdf",
    "figures/rmse.pdf",
    "figures/details.pdf",
    "claims.md",
    "answer/answer.md",
    "answer/figure.pdf",
    "runs.csv",
    "details.csv",
    "dynamics.csv",
    "accounting.json",
)


def summary(experiment_dir: Path) -> str:
    """The summary of a finished experiment as text, read from its tables, statistics, verdicts and answer."""
    table = experiment_dir / "tables" / "rmse.md"
    if not table.is_file():
        raise PriorbenchError(f"{table}: no such file; run the experiment to its end first")
    statistics = load_statistics(experiment_dir / "statistics.json")
    parts = [
        table.read_text(encoding="utf-8"),
        _block("Verdicts", _verdicts(load_claims(experiment_dir))),
        _block("Answer", _answer(load_answer(experiment_dir))),
        _block("Masking, change of force RMSE in %, 95 % interval and its half-width", _half_widths(statistics)),
        _block("Pretraining, validation loss from start to best", _pretraining(statistics)),
        _block("Scratch, validation force RMSE over the trivial predictor's", _ratios(statistics)),
        _time(experiment_dir / accounting.FILE),
        _block("Files", [str(experiment_dir / name) for name in _PLACES if (experiment_dir / name).is_file()]),
    ]
    return "\n".join(part for part in parts if part)


def _block(title: str, lines: list[str]) -> str:
    return f"{title}\n" + "".join(f"  {line}\n" for line in lines) if lines else ""


def _verdicts(content: dict[str, Any] | None) -> list[str]:
    lines = []
    for item in content["claims"] if content else ():
        lines.append(f"{item['id']}  {item['claim']}")
        if item["reason"]:
            lines.append(f"      not tested in this experiment: {item['reason']}")
        else:
            lines += [f"      {f'{quantity}:':8}{o['line']}" for quantity, o in item["outcomes"].items()]
    return lines


def _answer(content: dict[str, Any] | None) -> list[str]:
    return [f"{content['question']}  {content['title']}", f"      {content['verdict']}"] if content else []


def _half_widths(statistics: Statistics) -> list[str]:
    chosen = [
        c
        for c in statistics.comparisons
        if c.quantity == "force" and c.task == "masking" and c.reference_role != "pretrained" and c.matched and c.judged
    ]
    return _columns([[f"{c.dataset}/{c.backbone}", f"{c.strategy} against {c.reference}", _width(c)] for c in chosen])


def _width(c: Comparison) -> str:
    half = c.change.half_width
    found = joined(c.change.verdict, correction(c.change), "practically equal" if c.change.equivalent else "")
    return f"{change(c.change)}, half-width {MISSING if half is None else f'{100 * half:.1f} %'}: {found}"


def _pretraining(statistics: Statistics) -> list[str]:
    groups: dict[tuple[str, str, str], list[PretrainingResult]] = {}
    for run in statistics.pretraining:
        groups.setdefault((run.dataset, run.backbone, run.pretraining), []).append(run)
    return _columns([[f"{d}/{b}", name, _learned(runs)] for (d, b, name), runs in groups.items()])


def _learned(runs: list[PretrainingResult]) -> str:
    losses = ", ".join(
        "diverged" if run.diverged else f"{number(run.loss_start)} → {number(run.loss_best)}" for run in runs
    )
    below = f"below its start in {sum(run.below_start for run in runs)} of {len(runs)}"
    floors = sorted({number(run.floor) for run in runs if run.floor is not None})
    if not floors:
        return f"{losses}: {below}"
    reading = sum(bool(run.below_floor) for run in runs)
    return f"{losses}: {below}, below its context-free floor ({'–'.join(floors)}) in {reading} of {len(runs)}"


def _ratios(statistics: Statistics) -> list[str]:
    return _columns(
        [
            [f"{r.dataset}/{r.backbone}", ", ".join(f"{v:.2f}" for v in r.validation_ratio.values) or MISSING]
            for r in statistics.strategies
            if r.role == "scratch"
        ]
    )


def _time(path: Path) -> str:
    if not path.is_file():
        return ""
    content = read_object(path, accounting.FIELDS, "run `priorbench accounting` again")
    wall, cores, jobs = content["wall_seconds"], content["cores"], content["jobs"]
    title = f"Where the time went: {jobs} jobs in {wall:.0f} s on {cores} cores, core time and its share"
    return _block(title, accounting.lines(content))


def _columns(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
