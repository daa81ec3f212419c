"""The fair and the released protocol side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from matplotlib.figure import Figure

from priorbench.analysis.cases import join_verdicts
from priorbench.analysis.intervals import Estimate, Paired, correct
from priorbench.analysis.results import QUANTITY_NAMES, Quantity
from priorbench.analysis.style import colour
from priorbench.analysis.tables import TRIVIAL
from priorbench.questions.across import Group, gain_change, groups
from priorbench.questions.base import COMMON, JUDGEMENTS, Answer, not_there
from priorbench.questions.cells import SURVIVES, Cell, Column, Table
from priorbench.questions.compare import Entry, change, compare, scratch, unique
from priorbench.questions.draw import Mark, change_mark, error_mark, nothing_to_draw
from priorbench.questions.experiment import Experiment, Member, is_mask
from priorbench.questions.forest import Block, Heading, Line, forest_figure
from priorbench.questions.sentences import WORDS, Case, listing

FAIR, RELEASED = "fair", "released"
BOTH = (FAIR, RELEASED)
_UNITS = {"force": ("mev_per_angstrom", "meV/Å"), "energy": ("mev_per_atom", "meV/atom")}
_LEGEND = (
    "Test errors: geometric mean [95 % interval] over seeds. Δ: change of test RMSE in per cent, paired by seed, "
    f"[95 % interval]; {SURVIVES}: its verdict survives Holm's correction over the column. Diverged and stuck "
    "(completed, not below the trivial predictor): fair / released."
)
_CAPTION = (
    "Filled: fair protocol, hollow: released. Mean, 95 % interval, seeds as small dots; changes are paired by seed. "
    "Grey ground: changes too small to count (±3 %)."
)


@dataclass(frozen=True)
class Pair:
    """One strategy of a group under both protocols; None where it was not run under one."""

    group: Group
    name: str
    entries: dict[str, Entry | None]
    changes: dict[Quantity, Paired]

    def member(self, protocol: str) -> Member | None:
        """The strategy under one protocol."""
        entry = self.entries[protocol]
        return entry.member if entry else None


class Protocols:
    """Backbone entries of one architecture, one under the fair protocol and one as released."""

    title: ClassVar[str] = "Is masking's gain larger under the released protocol than under the fair one?"
    looks_at: ClassVar[str] = (
        "every strategy of backbone entries that share dataset and architecture and differ in their protocol"
    )
    x: ClassVar[str] = "the protocol of the backbone entry (`protocol`)"
    rule: ClassVar[str] = (
        "Yes if the ratio of masking's test force RMSE to scratch's is lower under the released protocol than under "
        "the fair one (Δ of that ratio, paired by seed), for every architecture and dataset; no if it is not lower for "
        f"one of them. {COMMON}"
    )

    def answer(self, experiment: Experiment) -> Answer:
        """The answer from the tables of an experiment."""
        found = [g for g in groups(experiment, lambda scratch: scratch.protocol) if set(BOTH) <= set(g.places)]
        members = [Entry(m) for g in found for protocol in BOTH for m in experiment.at(g.places[protocol])]
        pairs = _pairs(found, compare(members, [scratch(experiment)]))
        table = _table(pairs)
        masks = [pair for pair in pairs if (m := pair.member(FAIR)) is not None and is_mask(m)]
        gains = [
            (pair, gain_change(experiment, pair.name, pair.group.places[RELEASED], pair.group.places[FAIR]))
            for pair in masks
        ]
        judged = [(pair, gain) for pair, gain in gains if gain is not None]
        missing = _missing(found, bool(judged))
        if not judged:
            return not_there(table, lambda: nothing_to_draw(missing), missing)
        verdict = join_verdicts(gain.verdict for _, gain in judged)
        cases: list[Case] = [(_label(pair, found), gain) for pair, gain in judged]
        first = f"the ratio of masking's test force RMSE to scratch's changes by {listing(cases)}"
        return Answer(
            JUDGEMENTS[verdict],
            (f"{WORDS[verdict]}: from the fair to the released protocol {first}.", f"{_second(masks, found)}."),
            table,
            _LEGEND,
            lambda: _figure(experiment, pairs, found),
            missing,
        )


def _pairs(found: Sequence[Group], entries: Sequence[Entry]) -> list[Pair]:
    pairs = []
    for group in found:
        here = {p: {e.member.name: e for e in entries if e.member.place == group.places[p]} for p in BOTH}
        for name in unique([*here[FAIR], *here[RELEASED]]):
            own = {protocol: here[protocol].get(name) for protocol in BOTH}
            fair, released = own[FAIR], own[RELEASED]
            changes: dict[Quantity, Paired] = {}
            if fair is not None and released is not None:
                changes = {q: change(released.member, fair.member, q) for q in QUANTITY_NAMES}
            pairs.append(Pair(group, name, own, changes))
    return pairs


def _table(pairs: Sequence[Pair]) -> Table:
    names = [Column(name, name) for name in ("dataset", "architecture", "strategy")]
    errors = [
        Column(f"{q}_rmse_{p}_{_UNITS[q][0]}", f"{q} RMSE {p} {_UNITS[q][1]}", "estimate")
        for q in QUANTITY_NAMES
        for p in BOTH
    ]
    across = [Column(f"delta_{q}_released_fair", f"Δ {q} released vs fair %", "change") for q in QUANTITY_NAMES]
    within = [
        Column(f"delta_{q}_scratch_{p}", f"Δ {q} vs scratch, {p} %", "change") for q in QUANTITY_NAMES for p in BOTH
    ]
    counts = [Column("seeds", "seeds", "number"), Column("diverged", "diverged"), Column("stuck", "stuck")]
    table = Table([*names, *errors, *across, *within, *counts])
    corrected = {q: iter(correct([p.changes[q] for p in pairs if p.changes])) for q in QUANTITY_NAMES}
    for group in dict.fromkeys((pair.group.dataset, pair.group.architecture) for pair in pairs):
        own = [pair for pair in pairs if (pair.group.dataset, pair.group.architecture) == group]
        table.rows.append(_trivial(own[0], len(table.columns)))
        for pair in own:
            both: list[Cell] = [next(corrected[q]) if pair.changes else None for q in QUANTITY_NAMES]
            table.rows.append(_row(pair, both))
    return table


def _row(pair: Pair, both: list[Cell]) -> list[Cell]:
    members, entries = [pair.member(p) for p in BOTH], [pair.entries[p] for p in BOTH]
    errors: list[Cell] = [m.result.errors[f"{q}_rmse"] if m else None for q in QUANTITY_NAMES for m in members]
    within: list[Cell] = [e.change("scratch", q) if e else None for q in QUANTITY_NAMES for e in entries]
    seeds = max(len(m.result.seeds) for m in members if m)
    lost = " / ".join(str(len(m.result.diverged)) if m else "–" for m in members)
    stuck = " / ".join(str(len(m.result.stuck)) if m else "–" for m in members)
    return [pair.group.dataset, pair.group.architecture, pair.name, *errors, *both, *within, seeds, lost, stuck]


def _trivial(pair: Pair, width: int) -> list[Cell]:
    members = [pair.member(p) for p in BOTH]
    means = [m.result.trivial[f"{q}_rmse"] if m else None for q in QUANTITY_NAMES for m in members]
    cells: list[Cell] = [pair.group.dataset, pair.group.architecture, TRIVIAL]
    cells += [Estimate(mean, None, None, None, []) for mean in means]
    return cells + [None] * (width - len(cells))


def _label(pair: Pair, found: Sequence[Group]) -> str:
    return pair.group.title if len(found) > 1 else ""


def _second(masks: Sequence[Pair], found: Sequence[Group]) -> str:
    parts = []
    for protocol in BOTH:
        cases: list[Case] = [(_label(p, found), e.change("scratch")) for p in masks if (e := p.entries[protocol])]
        parts.append(f"by {listing(cases)} under the {protocol} one")
    return f"Masking changes test force RMSE against scratch {parts[0]}, and {parts[1]}"


def _missing(found: Sequence[Group], masked: bool) -> list[str]:
    if not found:
        return ["backbone entries of one architecture under both protocols"]
    return [] if masked else ["masking under both protocols"]


def _figure(experiment: Experiment, pairs: Sequence[Pair], found: Sequence[Group]) -> Figure:
    headings = [Heading("test force RMSE / (meV/Å)", change=False)]
    headings += [Heading(f"Δ {q} RMSE vs scratch / %") for q in QUANTITY_NAMES]
    blocks = [Block(group.title, [_line(experiment, pair) for pair in pairs if pair.group is group]) for group in found]
    return forest_figure(blocks, headings, _CAPTION)


def _line(experiment: Experiment, pair: Pair) -> Line:
    filled, hollow = ([_error(pair, p), *(_gain(experiment, pair, p, q) for q in QUANTITY_NAMES)] for p in BOTH)
    member = pair.member(FAIR) or pair.member(RELEASED)
    assert member is not None
    return Line(pair.name, colour(member.result.role, member.result.task), filled, hollow)


def _error(pair: Pair, protocol: str) -> Mark | None:
    member = pair.member(protocol)
    return error_mark(member.result.errors["force_rmse"]) if member else None


def _gain(experiment: Experiment, pair: Pair, protocol: str, quantity: Quantity) -> Mark | None:
    entry, base = pair.entries[protocol], experiment.scratch(pair.group.places[protocol])
    return change_mark(entry.change("scratch", quantity), entry.member, base, quantity) if entry else None
