"""What a question is, and what an answer to it consists of.

A question is one class with a registry line.  Its rule is fixed before any result and printed with the answer; its
judgement is *yes*, *no* or *undecided*, by the same margin and intervals as the verdicts on the claims, or "not in
this experiment" where what it compares was not run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from matplotlib.figure import Figure

from priorbench.analysis.intervals import MARGIN, Verdict
from priorbench.questions.cells import Table
from priorbench.questions.experiment import Experiment

Judgement = Literal["yes", "no", "undecided", "not in this experiment"]
JUDGEMENTS: dict[Verdict, Judgement] = {"reproduced": "yes", "contradicted": "no", "undecided": "undecided"}
ABSENT: Judgement = "not in this experiment"

#: Said by every question that judges changes of errors.
COMMON = (
    f"Δ is the relative change of test force RMSE, paired by seed, margin m = {100 * MARGIN:.0f} %: lower where its "
    "95 % interval lies wholly below −m, not lower where wholly above −m, otherwise undecided, as with a single pair, "
    "a diverged run on either side, or a seed of which neither force RMSE is below the trivial predictor's. Energy is "
    "compared by the same rule, shown beside and does not decide. "
    "Over several datasets, backbones or parts: yes if all say so, no if any says no, undecided otherwise. "
    "Longer-steps is the longer run nearest in steps, longer-compute in counted FLOPs; one that spent less than 98 % "
    "of a strategy's budget decides nothing. Holm's correction over each column of the table is marked and changes no "
    "judgement."
)


@dataclass(frozen=True)
class Answer:
    """What one question finds in one experiment.

    ``sentences`` are two, with numbers and 95 % intervals; ``missing`` says what was not run; ``draw`` makes the
    figure under the common look.
    """

    judgement: Judgement
    sentences: tuple[str, str]
    table: Table
    legend: str
    draw: Callable[[], Figure]
    missing: Sequence[str] = field(default_factory=list)


class Question(Protocol):
    """One question: ``title`` in plain words, the strategies it ``looks_at``, how ``x`` is read, its ``rule``."""

    title: str
    looks_at: str
    x: str
    rule: str

    def answer(self, experiment: Experiment) -> Answer:
        """The answer from the tables of an experiment."""
        ...


def not_there(table: Table, draw: Callable[[], Figure], missing: Sequence[str]) -> Answer:
    """The answer where what the question compares was not run."""
    sentences = (f"Not in this experiment: {', '.join(missing)}.", "The question is not answered by it.")
    return Answer(ABSENT, sentences, table, "", draw, missing)
