"""Paired comparisons of an answer's table: every strategy against its references, force and energy, corrected.

The family of Holm's correction is the table: all its comparisons of one quantity with references of one kind (one
column), over all datasets, backbones and strategies shown.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from priorbench.analysis.intervals import MARGIN, Paired, correct, paired
from priorbench.analysis.results import QUANTITY_NAMES, Quantity
from priorbench.analysis.rules import LEAST_BUDGET
from priorbench.errors import PriorbenchError
from priorbench.questions.experiment import Experiment, Member

Word = Literal["lower", "equal", "higher", "not lower", "undecided"]
Errors = Mapping[int, float | None]


@dataclass(frozen=True)
class Against:
    """A kind of reference, as its column is called, and which member it is for a given one (None: there is none).

    With ``turned`` the reference is compared with the member, not the member with the reference.
    """

    label: str
    find: Callable[[Member], Member | None]
    turned: bool = False


@dataclass(frozen=True)
class Entry:
    """One line of a table: a strategy, what it was set to, and its changes by reference and quantity."""

    member: Member
    x: str = ""
    value: float | None = None
    changes: Mapping[tuple[str, Quantity], Paired] = field(default_factory=dict)

    def change(self, label: str, quantity: Quantity = "force") -> Paired | None:
        """Against the reference called ``label``; None where there is none."""
        return self.changes.get((label, quantity))


def scratch(experiment: Experiment) -> Against:
    """Against training from scratch."""
    return Against("scratch", lambda member: _other(experiment.scratch(member.place), member))


def longer(experiment: Experiment, role: str = "longer-steps") -> Against:
    """Against the longer run nearest in budget; its own kind has none."""
    return Against(role, lambda member: None if _is_baseline(member) else experiment.longer(member, role))


def compare(entries: Sequence[Entry], references: Sequence[Against]) -> list[Entry]:
    """The entries with their changes against each reference, corrected column by column."""
    changes: list[dict[tuple[str, Quantity], Paired]] = [{} for _ in entries]
    for against in references:
        others = [against.find(entry.member) for entry in entries]
        for quantity in QUANTITY_NAMES:
            there = [i for i, other in enumerate(others) if other is not None]
            found = [change(entries[i].member, others[i], quantity, against.turned) for i in there]
            for i, corrected in zip(there, correct(found), strict=True):
                changes[i][against.label, quantity] = corrected
    return [replace(entry, changes=own) for entry, own in zip(entries, changes, strict=True)]


def with_baselines(
    experiment: Experiment, entries: Sequence[Entry], roles: Sequence[str] = ("longer-steps",)
) -> list[Entry]:
    """The entries, before them scratch of every place and the longer runs of ``roles`` nearest to any of them."""
    found: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        place = entry.member.place
        for member in (experiment.scratch(place), *(experiment.longer(entry.member, role) for role in roles)):
            if member is not None:
                found.setdefault((*place, member.name), Entry(member))
    return [*found.values(), *entries]


def change(member: Member, other: Member | None, quantity: Quantity = "force", turned: bool = False) -> Paired:
    """Δ of test RMSE of ``member`` against ``other`` (``turned``: the other way round), paired by seed.

    Against a longer run that spent less than ``LEAST_BUDGET`` of the member's budget nothing is decided.
    """
    assert other is not None
    pair = (other, member) if turned else (member, other)
    where = " against ".join("/".join((*m.place, m.name)) for m in pair)
    untrained = member.result.stuck_with(other.result)
    found = paired_errors(pair[0].errors(quantity), pair[1].errors(quantity), where, untrained)
    unit = {"longer-steps": "steps", "longer-compute": "flops"}.get(other.result.role)
    short = unit is not None and other.budget(unit) < LEAST_BUDGET * member.budget(unit)
    return undecided(found) if short else found


def paired_errors(own: Errors, other: Errors, where: str, untrained: Collection[int] = ()) -> Paired:
    """:func:`priorbench.analysis.intervals.paired`, a fault saying ``where``."""
    try:
        return paired(own, other, untrained)
    except PriorbenchError as error:
        raise PriorbenchError(f"{where}: {error}") from None


def undecided(found: Paired) -> Paired:
    """The same numbers without a verdict."""
    return replace(found, verdict="undecided", equivalent=False, p=None, p_margin=None)


def ratios(own: Errors, other: Errors) -> dict[int, float | None]:
    """Quotients by seed; None where either run diverged.  Two of them, paired, say whether a gain has changed."""
    both = {seed: (value, other.get(seed)) for seed, value in own.items()}
    return {seed: None if a is None or b is None else a / b for seed, (a, b) in both.items()}


def word(found: Paired | None) -> Word:
    """What an interval of Δ says, with the margin m: wholly below −m, within ±m, wholly above m, else above −m."""
    if found is None or found.verdict == "undecided" or found.low is None:
        return "undecided"
    if found.verdict == "reproduced":
        return "lower"
    if found.equivalent:
        return "equal"
    return "higher" if found.low > MARGIN else "not lower"


def same_but(settings: Mapping[str, object], base: Mapping[str, object], *keys: str) -> bool:
    """Whether two sets of options differ in nothing but ``keys``."""
    return {k: v for k, v in settings.items() if k not in keys} == {k: v for k, v in base.items() if k not in keys}


def unique(values: Iterable[str]) -> list[str]:
    """Each once, in the order in which they come."""
    return list(dict.fromkeys(values))


def _other(found: Member | None, member: Member) -> Member | None:
    return None if found is None or found is member else found


def _is_baseline(member: Member) -> bool:
    return member.result.role in ("scratch", "longer-steps", "longer-compute")
