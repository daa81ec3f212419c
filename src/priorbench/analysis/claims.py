"""The verdict on each claim of the paper: ``claims.json`` and ``claims.md``.

The rules are those of :mod:`priorbench.analysis.rules`, fixed before the first headline run; this module applies them
and prints what led to each verdict.  Below the evidence floor "smoke test, not evidence" stands beside every verdict.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from priorbench.analysis.cases import Case, join_verdicts
from priorbench.analysis.evidence import Weight, weigh
from priorbench.analysis.records import load_curves, load_runs
from priorbench.analysis.results import COVERS, QUANTITY_NAMES, Quantity, Statistics, load_statistics
from priorbench.analysis.rules import (
    RULES,
    judge_convergence,
    judge_denoising,
    judge_every_backbone,
    judge_gain,
    judge_longer,
    judge_molecules,
)
from priorbench.analysis.stability import judge_forcenet
from priorbench.analysis.text import MISSING, markdown_table, percent
from priorbench.io import write_json, write_text

NOT_TESTED = "not tested in this experiment"

Judge = Callable[[Statistics, pd.DataFrame, pd.DataFrame], list[Case]]


@dataclass(frozen=True)
class Claim:
    """A claim in our words; ``judge`` finds its cases, ``untested`` says why there may be none."""

    id: str
    text: str
    judge: Judge
    untested: str


@dataclass(frozen=True)
class Outcome:
    """A claim for one quantity over all its deciding cases; ``verdict`` may be "not tested in this experiment".

    Of ``corrected`` decided verdicts that have a p-value ``surviving`` hold after correction for their number.
    """

    verdict: str
    reproduced: int
    contradicted: int
    undecided: int
    corrected: int
    surviving: int

    def describe(self, label: str | None) -> str:
        """The verdict with its counts, and the label of an experiment below the evidence floor."""
        if self.verdict == NOT_TESTED:
            return self.verdict
        counts = f"{self.reproduced} reproduced, {self.contradicted} contradicted, {self.undecided} undecided"
        if self.corrected:
            counts += f"; {self.surviving} of {self.corrected} decided survive Holm"
        return f"{self.verdict} ({counts})" + (f" — {label}" if label else "")


CLAIMS = [
    Claim(
        "C1",
        "Pretraining by masking lowers the error against training from scratch, by 25–38 %",
        lambda statistics, runs, curves: judge_gain(statistics),
        "no strategy starts from masking",
    ),
    Claim(
        "C2",
        "It lowers the error more than training from scratch for longer does",
        lambda statistics, runs, curves: judge_longer(statistics),
        "no strategy starts from masking",
    ),
    Claim(
        "C3",
        "It is more accurate and more stable than pretraining by denoising",
        lambda statistics, runs, curves: judge_denoising(statistics),
        "masking and denoising are not both among the strategies",
    ),
    Claim(
        "C4",
        "It helps every backbone, force-centric and energy-centric",
        lambda statistics, runs, curves: judge_every_backbone(statistics),
        "no dataset was run with masking on both a force-centric (vector) and an energy-centric (gradient) backbone",
    ),
    Claim(
        "C5",
        "It needs fewer finetuning epochs to reach the error that scratch ends with",
        judge_convergence,
        "no strategy starts from masking",
    ),
    Claim(
        "C6",
        "It stabilises ForceNet, whose training from scratch is unstable",
        lambda statistics, runs, curves: judge_forcenet(statistics),
        "needs masking and scratch on ForceNet at two or more learning rates, with five or more seeds",
    ),
    Claim(
        "C7",
        "It carries over to small organic molecules (revised MD17)",
        lambda statistics, runs, curves: judge_molecules(statistics),
        "needs the molecules of revised MD17 and their own masking of single hydrogens",
    ),
]


@dataclass(frozen=True)
class Judged:
    """A claim with its cases and one outcome a quantity."""

    claim: Claim
    outcomes: dict[Quantity, Outcome]
    cases: list[Case]

    @property
    def reason(self) -> str | None:
        """Why the claim is not tested; None where some case decides."""
        return None if any(case.decisive for case in self.cases) else self.claim.untested


def claims(
    runs_csv: Path, curves_csv: Path, statistics_json: Path, evidence: Mapping[str, int], output_dir: Path
) -> None:
    """Write ``claims.json`` and ``claims.md`` into ``output_dir``.

    ``evidence`` is the floor: ``structure_steps`` of finetuning and ``seeds``.
    """
    runs = load_runs(runs_csv)
    weight = weigh(runs, evidence)
    judged = judge(load_statistics(statistics_json), runs, load_curves(curves_csv))
    write_json(output_dir / "claims.json", _as_json(judged, weight))
    write_text(output_dir / "claims.md", _as_markdown(judged, weight))


def judge(statistics: Statistics, runs: pd.DataFrame, curves: pd.DataFrame) -> list[Judged]:
    """Apply every rule."""
    judged = []
    for claim in CLAIMS:
        cases = claim.judge(statistics, runs, curves)
        judged.append(Judged(claim, {quantity: _outcome(cases, quantity) for quantity in QUANTITY_NAMES}, cases))
    return judged


def _outcome(cases: list[Case], quantity: Quantity) -> Outcome:
    own = [case for case in cases if case.quantity == quantity and case.decisive]
    found = [case.verdict for case in own]
    overall = join_verdicts(found) if found else NOT_TESTED
    survive = [case.survives for case in own if case.survives is not None]
    return Outcome(
        verdict=overall,
        reproduced=found.count("reproduced"),
        contradicted=found.count("contradicted"),
        undecided=found.count("undecided"),
        corrected=len(survive),
        surviving=sum(survive),
    )


def _as_json(judged: list[Judged], weight: Weight) -> dict[str, object]:
    return {
        "evidence": {**asdict(weight), "label": weight.label},
        "intervals": COVERS,
        "rules": RULES,
        "claims": [
            {
                "id": item.claim.id,
                "claim": item.claim.text,
                "outcomes": {
                    quantity: {**asdict(outcome), "line": outcome.describe(weight.label)}
                    for quantity, outcome in item.outcomes.items()
                },
                "reason": item.reason,
                "cases": [{**asdict(case), "label": weight.label} for case in item.cases],
            }
            for item in judged
        ],
    }


def _as_markdown(judged: list[Judged], weight: Weight) -> str:
    overview = [
        [item.claim.id, item.claim.text, *(item.outcomes[q].describe(weight.label) for q in QUANTITY_NAMES)]
        for item in judged
    ]
    parts = [
        f"# Verdicts\n\n{weight.describe()}\n",
        markdown_table(["id", "claim", "forces", "energies"], overview, "llll"),
        *(_details(item, weight) for item in judged),
        "## Rules\n\n" + "".join(f"- {rule}\n" for rule in RULES) + f"\nIntervals: {COVERS}\n",
    ]
    return "\n".join(parts)


def _details(item: Judged, weight: Weight) -> str:
    title = f"## {item.claim.id}: {item.claim.text}\n\n"
    if item.reason:
        title += f"{NOT_TESTED[0].upper()}{NOT_TESTED[1:]}: {item.reason}.\n"
    if not item.cases:
        return title
    title += "\n" if item.reason else ""
    header = [
        "dataset",
        "backbone",
        "strategy",
        "against",
        "of",
        "part",
        "verdict",
        "change %",
        "95 %",
        "pairs",
        "note",
    ]
    return title + markdown_table(header, [_row(case, weight) for case in item.cases], "lllllllrrrl")


def _row(case: Case, weight: Weight) -> list[str]:
    interval = MISSING if case.low is None else f"[{percent(case.low)}, {percent(case.high)}]"
    found = case.verdict if case.decisive else f"({case.verdict})"
    judged = f"{found} ({weight.label})" if weight.label else found
    return [
        *(case.dataset, case.backbone, case.strategy, case.reference, case.quantity, case.part, judged),
        *(percent(case.value), interval, MISSING if case.pairs is None else str(case.pairs), case.note),
    ]
