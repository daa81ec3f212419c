"""The fair and the released protocol side by side, and what their differences do one at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from priorbench.analysis.cases import join_verdicts
from priorbench.analysis.intervals import Paired, correct
from priorbench.analysis.results import QUANTITY_NAMES, Quantity
from priorbench.questions.across import gain_change, of_name
from priorbench.questions.base import COMMON, JUDGEMENTS, Answer, not_there
from priorbench.questions.cells import Cell
from priorbench.questions.compare import Against, Entry, compare, scratch
from priorbench.questions.draw import nothing_to_draw
from priorbench.questions.experiment import Experiment, Member, Place, is_mask
from priorbench.questions.protocols_figure import protocols_figure
from priorbench.questions.sentences import WORDS, Case, listing
from priorbench.questions.table import LEGEND, error_table, extra

FAIR, RELEASED = "fair", "released"


@dataclass(frozen=True)
class Sides:
    """The backbone entries of one dataset and architecture: the fair one, the released one, and those in between."""

    fair: Place
    released: Place
    between: list[Place]
    title: str

    @property
    def places(self) -> list[Place]:
        """All of them."""
        return [self.fair, self.released, *self.between]


class Protocols:
    """Backbone entries of one architecture, one under the fair protocol and one as released."""

    title: ClassVar[str] = "Is masking's gain larger under the released protocol than under the fair one?"
    looks_at: ClassVar[str] = (
        "every strategy of backbone entries that share dataset and architecture and differ in their protocol; of "
        "several fair entries the one with the shortest name stands for the protocol, the others for single "
        "differences from it"
    )
    x: ClassVar[str] = "the protocol of the backbone entry (`protocol`)"
    rule: ClassVar[str] = (
        "Yes if the ratio of masking's test force RMSE to scratch's is lower under the released protocol than under "
        "the fair one (Δ of that ratio, paired by seed), for every architecture and dataset; no if it is not lower for "
        f"one of them. {COMMON}"
    )

    def answer(self, experiment: Experiment) -> Answer:
        """The answer from the tables of an experiment."""
        found = sides(experiment)
        entries = [
            Entry(member, str(member.protocol)) for s in found for place in s.places for member in experiment.at(place)
        ]
        references = [scratch(experiment), _against_fair(experiment, found)]
        compared = compare(entries, references)
        gains = _gains(experiment, found, compared)
        extras = [
            extra(f"delta_{q}_gain", f"Δ {q} ratio to scratch, vs fair %", "change", partial(_gain, gains, quantity=q))
            for q in QUANTITY_NAMES
        ]
        table = error_table(compared, references, "protocol", extras)
        masks = [e for e in compared if is_mask(e.member) and e.member.place in [s.released for s in found]]
        judged: list[Case] = [(_title(e, found), gains.get((id(e.member), "force"))) for e in masks]
        missing = _missing(found, judged)
        if not judged:
            return not_there(table, lambda: nothing_to_draw(missing), missing)
        verdict = join_verdicts(gain.verdict if gain else "undecided" for _, gain in judged)
        first = f"the ratio of masking's test force RMSE to scratch's changes by {listing(judged)}"
        return Answer(
            JUDGEMENTS[verdict],
            (f"{WORDS[verdict]}: from the fair to the released protocol {first}.", f"{_second(compared, found)}."),
            table,
            LEGEND,
            lambda: protocols_figure(experiment, [(s.title, s.fair, s.released, s.between) for s in found]),
            missing,
        )


def sides(experiment: Experiment) -> list[Sides]:
    """Datasets and architectures that were run under both protocols."""
    found: dict[tuple[str, str], list[Member]] = {}
    for place in experiment.places:
        base = experiment.scratch(place)
        if base is not None:
            found.setdefault((place[0], base.result.architecture), []).append(base)
    both = []
    for (dataset, architecture), members in found.items():
        ordered = sorted(members, key=lambda member: (len(member.place[1]), member.place[1]))
        fair, released = ([m.place for m in ordered if m.protocol == protocol] for protocol in (FAIR, RELEASED))
        if fair and released:
            both.append(Sides(fair[0], released[0], [*fair[1:], *released[1:]], f"{architecture}, {dataset}"))
    return both


def _fair(place: Place, found: Sequence[Sides]) -> Place | None:
    """The fair entry that an entry is held against; None for a fair one itself."""
    return next((s.fair for s in found if place in s.places and place != s.fair), None)


def _against_fair(experiment: Experiment, found: Sequence[Sides]) -> Against:
    """The same strategy under the fair protocol."""

    def find(member: Member) -> Member | None:
        place = _fair(member.place, found)
        return None if place is None else of_name(experiment, place, member.name)

    return Against(FAIR, find)


def _gains(
    experiment: Experiment, found: Sequence[Sides], entries: Sequence[Entry]
) -> dict[tuple[int, Quantity], Paired]:
    """How much of its gain over scratch a strategy wins against the fair entry, corrected as one column."""
    gains: dict[tuple[int, Quantity], Paired] = {}
    for q in QUANTITY_NAMES:
        for entry in entries:
            place = _fair(entry.member.place, found)
            if place is not None and entry.member.result.role != "scratch":
                gain = gain_change(experiment, entry.member.name, entry.member.place, place, q)
                gains |= {} if gain is None else {(id(entry.member), q): gain}
        keys = [key for key in gains if key[1] == q]
        gains |= dict(zip(keys, correct([gains[key] for key in keys]), strict=True))
    return gains


def _gain(gains: dict[tuple[int, Quantity], Paired], entry: Entry, quantity: Quantity) -> Cell:
    return gains.get((id(entry.member), quantity))


def _title(entry: Entry, found: Sequence[Sides]) -> str:
    return next(s.title for s in found if entry.member.place in s.places) if len(found) > 1 else ""


def _second(entries: Sequence[Entry], found: Sequence[Sides]) -> str:
    parts = []
    for protocol, places in ((FAIR, [s.fair for s in found]), (RELEASED, [s.released for s in found])):
        own = [e for e in entries if is_mask(e.member) and e.member.place in places]
        cases: list[Case] = [(_title(e, found), e.change("scratch")) for e in own]
        parts.append(f"by {listing(cases)} under the {protocol} one")
    return f"Masking changes test force RMSE against scratch {parts[0]}, and {parts[1]}"


def _missing(found: Sequence[Sides], judged: Sequence[Case]) -> list[str]:
    if not found:
        return ["backbone entries of one architecture under both protocols"]
    return [] if judged else ["masking under the released protocol"]
