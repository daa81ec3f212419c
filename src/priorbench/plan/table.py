"""A plan as text for a terminal."""

import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from priorbench.analysis.text import MISSING, number
from priorbench.plan.lines import PARTS, Line

if TYPE_CHECKING:
    from priorbench.plan.command import Plan

WIDTH = 110  # of what is folded
HOUR = 3600.0
HEADER = [
    ("pretraining", "or strategy"),
    ("", "runs"),
    ("", "epochs"),
    ("struc-", "tures"),
    ("structure-", "steps/run"),
    ("GFLOP per", "str.-step"),
    ("ms per", "str.-step"),
    ("steps", "s/run"),
    ("passes", "s/run"),
    ("set-up", "s/run"),
]
UNKNOWN = "sizes unknown until read"


def as_text(plan: "Plan") -> str:
    """Everything that is printed."""
    unit, name = _unit(plan)
    blocks = [_heading(plan), _lines(plan, unit, name), _sums(plan, unit, name), _notes(plan)]
    return "\n".join(block for block in blocks if block)


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Rows as lines: the first ``left`` columns flush left, the others right, two spaces between."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    sides = ["<" if i < left else ">" for i in range(len(widths))]
    return ["  ".join(f"{c:{s}{w}}" for c, s, w in zip(row, sides, widths, strict=True)).rstrip() for row in rows]


def _heading(plan: "Plan") -> str:
    config = plan.config
    seeds = f"{len(config.seeds)} seeds, {'all in one job' if config.seeds_per_job == 'all' else 'a job each'}"
    runs = sum(line.stage.runs for line in plan.lines)
    basis = "\n".join(textwrap.wrap(f"Seconds: {plan.prices.basis}.", WIDTH))
    return f"Plan of {config.experiment}: {runs} runs, {seeds}, on {config.device}.\n{basis}\n"


def _lines(plan: "Plan", unit: float, name: str) -> str:
    header = [*HEADER, ("all runs", name)]
    rows: list[list[str]] = [[top for top, _ in header], [bottom for _, bottom in header]]
    titles: dict[int, str] = {}
    for (dataset, backbone), group in groupby(plan.lines, key=lambda each: (each.stage.dataset, each.stage.backbone)):
        titles[len(rows)] = f"{dataset}, {backbone}{_about(plan, dataset)}"
        rows += [_row(line, unit) for line in group]
    printed = aligned(rows)
    rule = "-" * max(len(line) for line in printed)
    out = [*printed[:2], rule]
    for place, line in enumerate(printed[2:], 2):
        out += [titles[place]] if place in titles else []
        out.append(line)
    return "\n".join([*out, rule]) + "\n"


def _about(plan: "Plan", dataset: str) -> str:
    sizes = plan.sizes[dataset]
    if sizes is None:
        return f": {UNKNOWN}"
    sides = (round(sum(sizes.counts[side]) / len(sizes.counts[side])) for side in ("train", "validation", "test"))
    return f": {number(sizes.mean_atoms)} atoms, {'/'.join(map(str, sides))} structures to train, validate, test"


def _row(line: Line, unit: float) -> list[str]:
    stage, structures = line.stage, line.stage.structures
    name = f"  pretrain: {stage.name}" if stage.kind == "pretrain" else f"  {stage.name}"
    visits, epochs = line.mean("visits"), line.mean("epochs")
    passes = (line.mean("validation") or 0.0) + (line.mean("test") or 0.0) if line.seconds else None
    return [
        name + (f" × {stage.trials} trials" if stage.trials > 1 else ""),
        str(stage.runs),
        str(stage.spec["training"]["epochs"]) if epochs is None else f"{epochs:.0f}",
        "?" if structures is None else f"{sum(structures) / len(structures):.0f}",
        "?" if visits is None else f"{visits:,.0f}",
        number(None if line.flops is None else line.flops / 1e9),
        number(None if line.step is None else 1000 * line.step),
        _brief(line.mean("training")),
        _brief(passes),
        _brief(line.mean("setup")),
        _brief(None if line.total is None else line.total / unit),
    ]


def _brief(value: float | None) -> str:
    """Three digits, but no more than three decimals."""
    return f"{value:.3f}" if value is not None and value < 0.1 else number(value)


def _sums(plan: "Plan", unit: float, name: str) -> str:
    flops = sum(line.total_flops or 0.0 for line in plan.lines)
    if plan.prices.start is None:
        return f"All optimiser steps: {flops:.3g} FLOP; hours are not predicted.\n"
    whole = sum(plan.parts.values())
    rows = [
        [PARTS[part], _brief(seconds / unit), f"{100 * seconds / whole:.0f} %" if whole else MISSING]
        for part, seconds in plan.parts.items()
    ]
    rows.append([f"all, {name}", number(whole / unit), ""])
    workers = "GPU" if plan.config.device == "cuda" else "core"
    count = f"{plan.cores} {workers}{'s' * (plan.cores > 1)}"
    unknown = [made.dataset for made in plan.data if made.seconds is None]
    without = f", without getting the data of {', '.join(unknown)}" if unknown else ""
    text = f"All optimiser steps: {flops:.3g} FLOP.  Wall time on {count}{without}: about {duration(plan.wall or 0.0)}."
    return "\n".join(aligned(rows)) + "\n\n" + textwrap.fill(text, WIDTH) + "\n"


def _notes(plan: "Plan") -> str:
    lines = ["- " + note for note in plan.notes]
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in lines)


def _unit(plan: "Plan") -> tuple[float, str]:
    """The unit of all seconds that belong to more than one run, and its name."""
    worker = "GPU" if plan.config.device == "cuda" else "core"
    whole = sum(plan.parts.values())
    if whole < 10 * HOUR and plan.prices.start is not None:
        return (1.0, f"{worker}-s") if whole < HOUR / 6 else (60.0, f"{worker}-min")
    return HOUR, f"{worker}-h"


def duration(seconds: float) -> str:
    """In the unit that fits: s, min, h or days."""
    for size, name in ((86400.0, "days"), (HOUR, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{number(seconds / size, 2)} {name}"
    return f"{number(seconds, 2)} s"
