"""Errors between the budgets that were run: straight lines in log error over log budget, seed by seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from priorbench.analysis.intervals import Estimate, estimate
from priorbench.analysis.results import Quantity
from priorbench.analysis.text import with_interval
from priorbench.questions.experiment import Member

#: A budget may lie outside of those that were run by this factor (steps of a fraction of an epoch).
TOLERANCE = 1.02

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Equal:
    """Of each seed the budget with the same error; seeds that would need ``less`` or ``more`` than any that was run."""

    budgets: Estimate
    less: int = 0
    more: int = 0

    def describe(self) -> str:
        """``2.1 [1.8, 2.5] ×``, and of how many seeds it is beyond what was run."""
        seeds = len(self.budgets.values) + self.less + self.more
        found = [f"{with_interval(self.budgets)} ×"] if self.budgets.mean is not None else []
        if found and len(self.budgets.values) < seeds:
            found = [f"{found[0]} in {len(self.budgets.values)} of {seeds} seeds"]
        for many, text in (
            (self.less, "at most the least that was run"),
            (self.more, "more than the most that was run"),
        ):
            found += [f"{text} in {many} of {seeds} seeds"] if many else []
        return ", ".join(found) or "an unknown multiple"


def points(
    members: Sequence[Member], budgets: Sequence[float], quantity: Quantity
) -> dict[int, list[tuple[float, float]]]:
    """By seed the budgets, ascending, with their errors; without those of diverged runs."""
    found: dict[int, list[tuple[float, float]]] = {}
    for member, budget in zip(members, budgets, strict=True):
        for seed, error in member.errors(quantity).items():
            own = found.setdefault(seed, [])
            if error is not None and all(budget != other for other, _ in own):
                own.append((budget, error))
    return {seed: sorted(own) for seed, own in found.items()}


def error_at(curve: Points, budget: float) -> float | None:
    """The error at a budget; None outside of what was run (nothing is extrapolated)."""
    if not curve or not curve[0][0] / TOLERANCE <= budget <= curve[-1][0] * TOLERANCE:
        return None
    budget = min(max(budget, curve[0][0]), curve[-1][0])
    for (b0, e0), (b1, e1) in pairwise(curve):
        if b0 <= budget <= b1:
            share = math.log(budget / b0) / math.log(b1 / b0)
            return math.exp((1 - share) * math.log(e0) + share * math.log(e1))
    return curve[0][1]


def equal_budget(curves: Mapping[int, Points], errors: Mapping[int, float | None], unit: float) -> Equal:
    """The least budget, over ``unit``, at which each seed's curve comes down to its error."""
    found, less, more = [], 0, 0
    for seed, error in errors.items():
        curve = curves.get(seed, [])
        if error is None or not curve:
            continue
        budget = _reached(curve, error)
        if curve[0][1] < error:
            less += 1
        elif budget is None:
            more += 1
        else:
            found.append(budget / unit)
    return Equal(estimate(found), less, more)


def _reached(curve: Points, error: float) -> float | None:
    if curve[0][1] == error:
        return curve[0][0]
    for (b0, e0), (b1, e1) in pairwise(curve):
        if e1 <= error < e0:
            return b0 * math.exp(math.log(e0 / error) / math.log(e0 / e1) * math.log(b1 / b0))
    return None
