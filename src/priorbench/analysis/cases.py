"""Cases, what the rules of the scorecard judge: one comparison each, with a verdict and the numbers behind it."""

from collections.abc import Iterable
from dataclasses import dataclass

from priorbench.analysis.intervals import Paired, Verdict
from priorbench.analysis.results import Comparison, Quantity
from priorbench.analysis.within import LEAST_GROUPS


@dataclass(frozen=True)
class Case:
    """One judged comparison; ``value``, ``low`` and ``high`` are relative changes (−0.1 is 10 % less).

    ``survives`` says whether a decided verdict holds after Holm's correction over ``family`` comparisons, None where
    there is nothing to correct; ``equivalent`` that the interval lies within ±m.  Cases that are not ``decisive`` are
    shown, and no verdict on a claim follows from them.
    """

    dataset: str
    backbone: str
    strategy: str
    reference: str
    quantity: Quantity
    part: str
    verdict: Verdict
    value: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int | None = None
    note: str = ""
    decisive: bool = True
    p: float | None = None
    p_holm: float | None = None
    survives: bool | None = None
    equivalent: bool = False

    @property
    def corrected(self) -> Verdict:
        """The verdict after the correction."""
        return "undecided" if self.survives is False else self.verdict


def case_of(c: Comparison, part: str, *notes: str, decisive: bool = True) -> Case:
    """The case of a comparison; its note holds what was lost, then ``notes``, then what the correction says."""
    p = c.change
    return Case(
        c.dataset,
        c.backbone,
        c.strategy,
        c.reference,
        c.quantity,
        part,
        p.verdict,
        p.delta,
        p.low,
        p.high,
        p.pairs,
        joined(lost(p), *notes, correction(p), "practically equal" if p.equivalent else ""),
        decisive,
        p.p,
        p.p_holm,
        p.survives if correction(p) else None,
        p.equivalent,
    )


def joined(*parts: str) -> str:
    """The parts that say something, as one note."""
    return "; ".join(part for part in parts if part)


def lost(change: Paired) -> str:
    """How many pairs a diverged run has cost, and in how many neither network was trained."""
    gone, neither = len(change.diverged), len(change.untrained)
    return joined(
        f"{gone} of {change.pairs + gone} pairs diverged" if gone else "",
        f"neither better than trivial in {neither} of {change.pairs} pairs" if neither else "",
    )


def correction(change: Paired) -> str:
    """Whether a decided verdict survives the correction for the number of comparisons; nothing where none was made."""
    if change.verdict == "undecided" or change.p_margin_holm is None:
        return ""
    return f"{'survives' if change.survives else 'does not survive'} Holm over {change.family} comparisons"


def inside(c: Comparison) -> str:
    """The share of the variance between seeds that test structures account for."""
    if c.within is None:
        return ""
    few = sum(error is None for error in c.within.per_seed)
    short = f"fewer than {LEAST_GROUPS} test groups in {few} of {len(c.within.per_seed)} seeds" if few else ""
    share = "" if c.within.share is None else f"test structures' share of variance {c.within.share:.2g}"
    return joined(share, short)


def join_verdicts(verdicts: Iterable[Verdict]) -> Verdict:
    """Reproduced if all are, contradicted if any is, undecided otherwise."""
    found = list(verdicts)
    if "contradicted" in found:
        return "contradicted"
    return "reproduced" if found and set(found) == {"reproduced"} else "undecided"
