"""Q3: does training from scratch for longer do the same as masking, by optimiser steps and by counted FLOPs?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from matplotlib.figure import Figure

from priorbench.analysis.cases import join_verdicts
from priorbench.analysis.intervals import Paired, correct
from priorbench.analysis.results import QUANTITY_NAMES, Quantity
from priorbench.analysis.text import number
from priorbench.questions.base import COMMON, JUDGEMENTS, Answer, not_there
from priorbench.questions.budget_figure import budget_figure
from priorbench.questions.cells import Cell
from priorbench.questions.compare import Entry, compare, paired_errors, scratch, undecided
from priorbench.questions.draw import nothing_to_draw
from priorbench.questions.experiment import Experiment, Member, Place, is_mask
from priorbench.questions.interpolate import Equal, equal_budget, error_at, points
from priorbench.questions.sentences import WORDS, join, listing
from priorbench.questions.table import LEGEND, Extra, error_table, extra

UNITS = {"steps": "optimiser steps", "flops": "counted FLOPs"}


@dataclass(frozen=True)
class Held:
    """One masking against scratch trained as long, by unit and quantity, and the multiple that gives its error."""

    mask: Member
    changes: Mapping[tuple[str, Quantity], Paired]
    equal: Equal


class Budget:
    """Scratch at several budgets as a curve, masking as a point."""

    title: ClassVar[str] = "Why does longer training not do the same?"
    looks_at: ClassVar[str] = "scratch and every longer-steps and longer-compute run (points of one curve); masking"
    x: ClassVar[str] = "optimiser steps and counted FLOPs, pretraining included"
    rule: ClassVar[str] = (
        "Of every seed the log error of scratch is interpolated linearly in log budget between the budgets that were "
        "run, each with its own schedule; nothing is extrapolated. Yes (longer training does not do the same) if at "
        "masking's own budget its test force RMSE is lower than the curve's, by steps and by FLOPs; no if it is not "
        "lower by one of them; undecided where the budget was not covered or a run of the curve diverged. The multiple "
        f"of scratch's budget that gives masking's error is shown beside and does not decide. {COMMON}"
    )

    def answer(self, experiment: Experiment) -> Answer:
        """The answer from the tables of an experiment."""
        held = _corrected([found for place in experiment.places for found in _held(experiment, place)])
        entries = [Entry(m) for p in experiment.places for m in [*curve(experiment, p), *masks(experiment, p)]]
        references = [scratch(experiment)]
        table = error_table(compare(entries, references), references, "", _extras(experiment, held))
        missing = _missing(experiment)
        if not held:
            return not_there(table, lambda: nothing_to_draw(missing), missing)
        verdict = join_verdicts(item.changes[unit, "force"].verdict for item in held for unit in UNITS)
        return Answer(
            JUDGEMENTS[verdict],
            (f"{WORDS[verdict]}: {_first(experiment, held)}.", f"{_second(experiment, held)}."),
            table,
            f"{LEGEND} Δ vs curve: masking against scratch at the same budget, interpolated; equal: the multiple of "
            "scratch's budget that gives masking's force RMSE.",
            lambda: _figure(experiment),
            missing,
        )


def curve(experiment: Experiment, place: Place) -> list[Member]:
    """Scratch at all budgets, ascending."""
    roles = ("scratch", "longer-steps", "longer-compute")
    return sorted((m for m in experiment.at(place) if m.result.role in roles), key=lambda m: m.budget("steps"))


def masks(experiment: Experiment, place: Place) -> list[Member]:
    """Masking on the place's own structures, as claims judge it."""
    return [member for member in experiment.at(place) if is_mask(member) and member.elsewhere is None]


def _held(experiment: Experiment, place: Place) -> list[Held]:
    members, start = curve(experiment, place), experiment.scratch(place)
    if start is None or len(members) < 2:
        return []
    found = []
    for mask in masks(experiment, place):
        changes = {(unit, q): _against_curve(mask, members, unit, q) for unit in UNITS for q in QUANTITY_NAMES}
        steps = points(members, [member.budget("steps") for member in members], "force")
        found.append(Held(mask, changes, equal_budget(steps, mask.errors("force"), start.budget("steps"))))
    return found


def _against_curve(mask: Member, members: Sequence[Member], unit: str, quantity: Quantity) -> Paired:
    """Masking against the curve at its budget; undecided where some budget of the curve diverged."""
    curves = points(members, [member.budget(unit) for member in members], quantity)
    own, longest = mask.errors(quantity), max(len(curve) for curve in curves.values())
    at_budget = {seed: error_at(curves.get(seed, []), mask.budget(unit)) for seed in own}
    if all(error is None for error in at_budget.values()):
        return Paired(0)
    found = paired_errors(own, at_budget, "/".join(mask.place))
    whole = all(len(curves.get(seed, [])) == longest for seed in own)
    return found if whole else undecided(found)


def _corrected(held: Sequence[Held]) -> list[Held]:
    """Corrected over all places, one family a unit and quantity."""
    keys = [(unit, quantity) for unit in UNITS for quantity in QUANTITY_NAMES]
    columns = {key: correct([item.changes[key] for item in held]) for key in keys}
    return [replace(item, changes={key: columns[key][i] for key in keys}) for i, item in enumerate(held)]


def _extras(experiment: Experiment, held: Sequence[Held]) -> list[Extra]:
    of = {(*item.mask.place, item.mask.name): item for item in held}

    def multiple(entry: Entry, unit: str) -> Cell:
        start = experiment.scratch(entry.member.place)
        return entry.member.budget(unit) / start.budget(unit) if start else None

    def against(entry: Entry, unit: str, quantity: Quantity) -> Cell:
        item = of.get((*entry.member.place, entry.member.name))
        return item.changes[unit, quantity] if item else None

    def equal(entry: Entry) -> Cell:
        item = of.get((*entry.member.place, entry.member.name))
        return item.equal.describe() if item else None

    columns = []
    for unit, text in (("steps", "steps"), ("flops", "FLOPs")):
        columns.append(extra(f"{unit}_over_scratch", f"{text} × scratch", "number", partial(multiple, unit=unit)))
        for q in QUANTITY_NAMES:
            of_curve = partial(against, unit=unit, quantity=q)
            columns.append(extra(f"delta_{q}_curve_{unit}", f"Δ {q} vs curve ({text}) %", "change", of_curve))
    return [*columns, extra("equal_over_scratch", "equal × scratch", "text", equal)]


def _first(experiment: Experiment, held: Sequence[Held]) -> str:
    parts = []
    for unit, text in UNITS.items():
        cases = [(experiment.label(item.mask.place), item.changes[unit, "force"]) for item in held]
        parts.append(f"with as many {text} by {listing(cases)}")
    return f"masking changes test force RMSE against scratch {parts[0]}, and {parts[1]}"


def _second(experiment: Experiment, held: Sequence[Held]) -> str:
    """What scratch must spend; places are named where there are several."""
    parts = []
    for item in held:
        start = experiment.scratch(item.mask.place)
        assert start is not None
        steps, flops = (item.mask.budget(unit) / start.budget(unit) for unit in UNITS)
        where = experiment.label(item.mask.place)
        spends = f"masking spends {number(steps)} × its steps and {number(flops)} × its FLOPs"
        parts.append(f"{item.equal.describe()} ({f'{where}, ' if where else ''}{spends})")
    return f"In multiples of its own budget scratch reaches masking's error at {join(parts)}"


def _missing(experiment: Experiment) -> list[str]:
    found = [] if any(masks(experiment, place) for place in experiment.places) else ["masking"]
    longest = max((len(curve(experiment, place)) for place in experiment.places), default=0)
    return [*found, "scratch at more than one budget"] if longest < 2 else found


def _figure(experiment: Experiment) -> Figure:
    places = [place for place in experiment.places if masks(experiment, place) and len(curve(experiment, place)) > 1]
    return budget_figure([(place, curve(experiment, place), masks(experiment, place)) for place in places])
