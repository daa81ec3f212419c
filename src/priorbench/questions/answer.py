"""One command, one answer: ``answer.{json,md}``, ``table.{csv,tex}`` and ``figure.{pdf,png}``.

Below the evidence floor "smoke test, not evidence" stands in the place of the verdict: numbers are shown, but nothing
is concluded from them.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import matplotlib as mpl

from priorbench.analysis.evidence import Weight, recipe_share, weigh
from priorbench.analysis.results import COVERS, lost
from priorbench.analysis.style import RC, save
from priorbench.analysis.text import latex_table, markdown_table
from priorbench.io import write_json, write_rows, write_text
from priorbench.questions.base import Answer, Question
from priorbench.questions.draw import noting
from priorbench.questions.experiment import load_experiment
from priorbench.registry import load


def answer(
    name: str,
    runs_csv: Path,
    curves_csv: Path,
    statistics_json: Path,
    evidence: Mapping[str, int],
    output_dir: Path,
    probes_csv: Path | None = None,
    structures_csv: Path | None = None,
) -> None:
    """Answer the question registered as ``name`` from the tables of an experiment, into ``output_dir``.

    ``evidence`` is the floor (``structure_steps`` of finetuning, ``seeds``) that the experiment is held against.

    Raises:
        PriorbenchError: there is no such question, a table is not readable, or compared runs have not the same seeds.
    """
    question: Question = load("question", name)()
    experiment = load_experiment(runs_csv, curves_csv, statistics_json, probes_csv, structures_csv)
    weight, share = weigh(experiment.runs, evidence), recipe_share(experiment.runs)
    found, note = question.answer(experiment), lost(experiment.statistics.strategies)
    table = found.table
    write_json(output_dir / "answer.json", as_json(name, question, found, weight, share))
    write_text(output_dir / "answer.md", as_markdown(name, question, found, weight, share, note))
    write_rows(output_dir / "table.csv", table.csv_rows(), table.csv_columns)
    caption = " ".join(filter(None, (question.title, found.legend, share, weight.describe(), note)))
    write_text(output_dir / "table.tex", latex_table(table.header, table.text_rows(), caption, table.alignment))
    with mpl.rc_context(RC), noting(note):
        save(found.draw(), output_dir / "figure")


def verdict(found: Answer, weight: Weight) -> str:
    """Two sentences, or the label of an experiment below the evidence floor."""
    return weight.label or " ".join(found.sentences)


def as_json(name: str, question: Question, found: Answer, weight: Weight, share: str) -> dict[str, object]:
    """Everything, for machines; the judgement is None below the evidence floor."""
    return {
        "question": name,
        "title": question.title,
        "judgement": None if weight.label else found.judgement,
        "verdict": verdict(found, weight),
        "evidence": {**asdict(weight), "label": weight.label},
        "looks_at": question.looks_at,
        "x": question.x,
        "missing": list(found.missing),
        "rows": found.table.csv_rows(),
        "recipe": share,
        "rule": question.rule,
        "intervals": COVERS,
    }


def as_markdown(name: str, question: Question, found: Answer, weight: Weight, share: str, note: str) -> str:
    """Question, verdict, table, a note beneath it, share of the paper's recipe, rule."""
    table = found.table
    body = markdown_table(table.header, table.text_rows(), table.alignment) if table.rows else ""
    missing = f"Not in this experiment: {'; '.join(found.missing)}." if found.missing else ""
    parts = [
        f"# {name}: {question.title}",
        f"**{verdict(found, weight)}**",
        weight.describe(),
        "![figure](figure.png)",
        body.rstrip("\n"),
        *(part for part in (found.legend, note, missing) if part),
        f"## Share of the paper's recipe\n\n{share}",
        f"## Rule\n\nLooks at: {question.looks_at}. Abscissa: {question.x}.\n\n{question.rule}\n\nIntervals: {COVERS}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
