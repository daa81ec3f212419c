"""Data efficiency: the error of every strategy over the number of labelled structures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from matplotlib.figure import Figure

from priorbench.analysis.cases import join_verdicts
from priorbench.analysis.intervals import Paired
from priorbench.analysis.results import QUANTITY_NAMES
from priorbench.analysis.style import colour, line_styles
from priorbench.questions.across import Group, gain_change, groups, of_name
from priorbench.questions.base import COMMON, JUDGEMENTS, Answer, not_there
from priorbench.questions.compare import Entry, compare, longer, scratch, unique
from priorbench.questions.draw import Mark, error_mark, nothing_to_draw
from priorbench.questions.experiment import Experiment, Member
from priorbench.questions.interpolate import Equal, equal_budget, points
from priorbench.questions.lines import Abscissa, Panel, Series, line_figure
from priorbench.questions.sentences import WORDS, Case, join, listing
from priorbench.questions.table import LEGEND, error_table

_CAPTION = (
    "Test RMSE over the number of labelled structures: geometric mean, 95 % interval, moved aside for clarity. "
    "Fewer structures are among more, and the test structures of a seed are the same for all."
)


@dataclass(frozen=True)
class Arm:
    """One masking of a group: how its gain changes towards fewer labels, and what scratch needs for its error."""

    group: Group
    mask: Member  # with the fewest labelled structures
    change: Paired | None
    against_longer: Paired | None
    equal: Equal


class Efficiency:
    """Backbone entries of one architecture that differ in the number of labelled structures."""

    title: ClassVar[str] = "Does masking help more where labelled structures are few?"
    looks_at: ClassVar[str] = (
        "scratch, longer and every pretrained strategy of backbone entries that share dataset and architecture and "
        "differ in the number of training structures"
    )
    x: ClassVar[str] = "labelled structures that finetuning learned from (`train_structures`)"
    rule: ClassVar[str] = (
        "Yes if the ratio of masking's test force RMSE to scratch's is lower with the fewest labelled structures than "
        "with the most (Δ of that ratio, paired by seed), for masking in every arm (pretrained on the labelled "
        f"structures alone, or on more); no if it is not lower in one of them. {COMMON}"
    )

    def answer(self, experiment: Experiment) -> Answer:
        """The answer from the tables of an experiment."""
        found = groups(experiment, lambda scratch: scratch.train_structures)
        entries = [
            Entry(member, str(n), float(n))
            for group in found
            for n, place in group.places.items()
            for member in experiment.at(place)
            if shown(member)
        ]
        references = [scratch(experiment), longer(experiment)]
        compared = compare(entries, references)
        table = error_table(compared, references, "structures")
        arms = [arm for group in found for arm in _arms(experiment, group, compared)]
        missing = _missing(found, arms)
        if not arms:
            return not_there(table, lambda: nothing_to_draw(missing), missing)
        verdict = join_verdicts(arm.change.verdict if arm.change else "undecided" for arm in arms)
        return Answer(
            JUDGEMENTS[verdict],
            (f"{WORDS[verdict]}: {_first(arms)}.", f"{_second(arms)}."),
            table,
            LEGEND,
            lambda: _figure(experiment, found, entries),
            missing,
        )


def shown(member: Member) -> bool:
    """Whether a strategy belongs here: a baseline, or a pretraining carried over as it is, on any of the structures."""
    if member.result.pretraining is None:
        return member.result.role != "variant"
    return member.whole and not member.pretrained.get("permute")


def _arms(experiment: Experiment, group: Group, entries: Sequence[Entry]) -> list[Arm]:
    few, most = (group.places[n] for n in group.ends)
    base = [(n, member) for n, place in group.places.items() if (member := experiment.scratch(place))]
    curves = points([member for _, member in base], [float(n) for n, _ in base], "force")
    changes = {(*e.member.place, e.member.name): e.change("longer-steps") for e in entries}
    return [
        Arm(
            group,
            mask,
            gain_change(experiment, mask.name, few, most),
            changes.get((*few, mask.name)),
            equal_budget(curves, mask.errors("force"), float(group.ends[0])),
        )
        for mask in experiment.at(few)
        if mask.result.task == "masking" and shown(mask)
    ]


def _label(arm: Arm, arms: Sequence[Arm]) -> str:
    parts = (arm.mask.name, arm.group.architecture, arm.group.dataset)
    varies = (len({(a.mask.name, a.group.architecture, a.group.dataset)[i] for a in arms}) > 1 for i in range(3))
    return ", ".join(part for part, many in zip(parts, varies, strict=True) if many)


def _first(arms: Sequence[Arm]) -> str:
    cases: list[Case] = [(_label(arm, arms), arm.change) for arm in arms]
    ends = join(unique(f"from {arm.group.ends[1]} to {arm.group.ends[0]} labelled structures" for arm in arms))
    return f"{ends} the ratio of masking's test force RMSE to scratch's changes by {listing(cases)}"


def _second(arms: Sequence[Arm]) -> str:
    cases: list[Case] = [(_label(arm, arms), arm.against_longer) for arm in arms]
    needs = [f"{arm.equal.describe()}{f' ({label})' if (label := _label(arm, arms)) else ''}" for arm in arms]
    return (
        f"With the fewest masking changes test force RMSE against longer-steps by {listing(cases)}, and in "
        f"multiples of these structures scratch reaches masking's error at {join(needs)}"
    )


def _missing(found: Sequence[Group], arms: Sequence[Arm]) -> list[str]:
    if not found:
        return ["backbone entries of one architecture with different numbers of labelled structures"]
    return [] if arms else ["masking"]


def _figure(experiment: Experiment, found: Sequence[Group], entries: Sequence[Entry]) -> Figure:
    styles = line_styles([entry.member.result for entry in entries])
    rows = []
    for q in QUANTITY_NAMES:
        titles = [group.title if q == "force" else "" for group in found]
        series = [_series(experiment, group, q, styles) for group in found]
        rows.append([Panel(t, s, (), _UNITS[q]) for t, s in zip(titles, series, strict=True)])
    return line_figure(rows, Abscissa("labelled structures", "log"), _CAPTION, change=False)


_UNITS = {"force": "test force\nRMSE / (meV/Å)", "energy": "test energy\nRMSE / (meV/atom)"}


def _series(experiment: Experiment, group: Group, quantity: str, styles: Mapping[str, str]) -> list[Series]:
    names = unique(m.name for p in group.places.values() for m in experiment.at(p) if shown(m))
    found = []
    for name in names:
        members = {n: m for n, place in group.places.items() if (m := of_name(experiment, place, name))}
        marks: dict[float, Mark] = {}
        for n, member in members.items():
            mark = error_mark(member.result.errors[f"{quantity}_rmse"])
            if mark is not None:
                marks[float(n)] = replace(mark, seeds=[])
        result = next(iter(members.values())).result
        found.append(Series(name, colour(result.role, result.task), marks, styles[name], hollow=styles[name] != "-"))
    return found
