"""Q7: why is ForceNet unstable, and does masking mend it?  Failures, spread and gradient norms over learning rates."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from priorbench.analysis.cases import Case, join_verdicts
from priorbench.analysis.intervals import LEVEL, Estimate, Paired, divergence_p, estimate
from priorbench.analysis.stability import DIVERGENCE_P, FORCENET, LEAST_RATES, LEAST_SEEDS, judge_forcenet
from priorbench.analysis.text import p_value
from priorbench.questions.base import COMMON, JUDGEMENTS, Answer, not_there
from priorbench.questions.cells import Cell
from priorbench.questions.compare import Entry, compare, scratch
from priorbench.questions.draw import nothing_to_draw
from priorbench.questions.experiment import Experiment, Member, is_mask
from priorbench.questions.sentences import WORDS, capital, quote, value
from priorbench.questions.stability_figure import stability_figure
from priorbench.questions.table import LEGEND, error_table, extra


class Stability:
    """ForceNet at several learning rates, from scratch and after masking."""

    title: ClassVar[str] = "Why is ForceNet unstable, and does masking mend it?"
    looks_at: ClassVar[str] = "scratch and masking on every backbone entry of the architecture forcenet"
    x: ClassVar[str] = "the learning rate of finetuning (`learning_rate`), one backbone entry each"
    rule: ClassVar[str] = (
        "As claim C6. A run has failed that diverged or got stuck (completed, test force RMSE not below the trivial "
        "predictor's). All entries of a dataset are taken together. Yes if masking fails less often by Fisher's exact "
        f"test (p < {DIVERGENCE_P:g}), or, where that tells nothing apart and none failed, if the ratio of the "
        "standard deviations of log force RMSE over seeds (within the entries) lies with its 95 % F-interval wholly "
        "below 1 − m; no if it fails more often or the ratio lies wholly above; undecided otherwise, and with fewer "
        f"than {LEAST_RATES} learning rates or {LEAST_SEEDS} seeds. {COMMON}"
    )

    def answer(self, experiment: Experiment) -> Answer:
        """The answer from the tables of an experiment."""
        entries = [
            Entry(member, f"{member.result.learning_rate:g}", member.result.learning_rate)
            for member in experiment.members
            if member.result.architecture == FORCENET and (member.result.role == "scratch" or is_mask(member))
        ]
        entries.sort(key=lambda entry: (entry.member.place[0], entry.value, entry.member.place[1]))
        references = [scratch(experiment)]
        compared = compare(entries, references)
        extras = [
            extra("failed", "failed", "text", lambda e: f"{failed(e.member)} of {len(e.member.result.seeds)}"),
            *(extra(f"spread_log_{q}", f"spread of log {q} RMSE", "number", partial(_spread, quantity=q))
              for q in ("force", "energy")),
            extra("largest_gradient_norm", "largest gradient norm", "estimate",
                  lambda e: estimate(largest_norms(experiment.curves, e.member))),
        ]  # fmt: skip
        table = error_table(compared, references, "learning rate", extras)
        cases = [case for case in judge_forcenet(experiment.statistics) if case.quantity == "force"]
        missing = _missing(compared)
        if not cases:
            return not_there(table, lambda: nothing_to_draw(missing), missing)
        verdict = join_verdicts(case.verdict if case.decisive else "undecided" for case in cases)
        sides = [_sides(experiment, case, [entry.member for entry in entries]) for case in cases]
        return Answer(
            JUDGEMENTS[verdict],
            (f"{WORDS[verdict]}: {'; '.join(map(_first, sides))}.", f"{capital('; '.join(map(_second, sides)))}."),
            table,
            f"{LEGEND} Failed: diverged or stuck. Spread: standard deviation over the seeds that did not fail. Largest "
            "gradient norm: of a run over its epochs, before clipping; geometric mean over seeds.",
            lambda: _figure(experiment, entries),
            missing,
        )


@dataclass(frozen=True)
class Side:
    """All runs of one strategy on one dataset."""

    runs: int
    diverged: int
    stuck: int
    norms: Estimate

    @property
    def failures(self) -> str:
        """``30 % [7, 65] of 10 runs (2 diverged, 1 stuck)``, a Clopper–Pearson interval."""
        many = self.diverged + self.stuck
        found = stats.binomtest(many, self.runs).proportion_ci(LEVEL)
        share, low, high = (f"{100 * v:.0f}" for v in (many / self.runs, found.low, found.high))
        return f"{share} % [{low}, {high}] of {self.runs} runs ({self.diverged} diverged, {self.stuck} stuck)"


def failed(member: Member) -> int:
    """Runs that diverged or got stuck."""
    return len(member.result.diverged) + len(member.result.stuck)


def largest_norms(curves: pd.DataFrame, member: Member) -> list[float]:
    """The largest finite gradient norm of each run while finetuning."""
    own = norms(curves, member)
    return [float(value) for value in own.groupby("seed")["grad_norm"].max() if value > 0]


def norms(curves: pd.DataFrame, member: Member) -> pd.DataFrame:
    """Largest gradient norm of every epoch of finetuning, where it was finite: seed, epoch, grad_norm."""
    chosen = (curves["dataset"] == member.place[0]) & (curves["backbone"] == member.place[1])
    chosen &= (curves["strategy"] == member.name) & (curves["stage"] == "finetune") & (curves["epoch"] >= 1)
    own: pd.DataFrame = curves.loc[chosen & np.isfinite(curves["grad_norm"]), ["seed", "epoch", "grad_norm"]]
    return own


def _spread(entry: Entry, quantity: str) -> Cell:
    return estimate(entry.member.result.trained(f"{quantity}_rmse")).spread


def _sides(experiment: Experiment, case: Case, members: Sequence[Member]) -> tuple[Case, Side, Side]:
    """The case with all runs of masking and all from scratch."""
    both = [
        [m for m in members if m.place[0] == case.dataset and m.name == name]
        for name in (case.strategy, case.reference)
    ]
    own, other = (_side(experiment.curves, side) for side in both)
    return case, own, other


def _side(curves: pd.DataFrame, members: Sequence[Member]) -> Side:
    results = [member.result for member in members]
    return Side(
        sum(len(result.seeds) for result in results),
        sum(len(result.diverged) for result in results),
        sum(len(result.stuck) for result in results),
        estimate([norm for member in members for norm in largest_norms(curves, member)]),
    )


def _first(found: tuple[Case, Side, Side]) -> str:
    case, own, other = found
    p = divergence_p(own.diverged + own.stuck, own.runs, other.diverged + other.stuck, other.runs)
    told = f"p {text if (text := p_value(p)).startswith('<') else f'= {text}'} by Fisher's exact test"
    return f"on {case.dataset} {own.failures} fail after masking and {other.failures} from scratch, {told}"


def _second(found: tuple[Case, Side, Side]) -> str:
    case, own, other = found
    ratio = Paired(case.pairs or 0, [], case.value, case.low, case.high)
    return (
        f"on {case.dataset} masking changes the spread of log force RMSE over the seeds that did not fail by "
        f"{quote(ratio)}, and the largest gradient norm of a run is {value(own.norms)} after masking and "
        f"{value(other.norms)} from scratch"
    )


def _missing(entries: Sequence[Entry]) -> list[str]:
    if not entries:
        return ["a backbone of the architecture forcenet"]
    found = [] if any(is_mask(entry.member) for entry in entries) else ["masking on forcenet"]
    if len({entry.x for entry in entries}) < LEAST_RATES:
        found.append(f"forcenet at {LEAST_RATES} learning rates")
    seeds = min(len(entry.member.result.seeds) for entry in entries)
    return [*found, f"{LEAST_SEEDS} seeds"] if seeds < LEAST_SEEDS else found


def _figure(experiment: Experiment, entries: Sequence[Entry]) -> Figure:
    return stability_figure([(entry, norms(experiment.curves, entry.member)) for entry in entries])
