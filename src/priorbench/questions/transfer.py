"""Q9: does a pretraining carry over to other systems than the one that it learned from?"""

from collections.abc import Sequence
from typing import ClassVar

from matplotlib.figure import Figure

from priorbench.analysis.cases import join_verdicts
from priorbench.questions.base import COMMON, JUDGEMENTS, Answer, not_there
from priorbench.questions.cells import Column
from priorbench.questions.compare import Against, Entry, compare, longer, scratch, with_baselines
from priorbench.questions.draw import nothing_to_draw
from priorbench.questions.experiment import Experiment, Member
from priorbench.questions.forest_figure import change_forest
from priorbench.questions.sentences import WORDS, Case, listing
from priorbench.questions.table import LEGEND, Extra, error_table

OWN = "own data"
PRETRAINED_ON = Extra(Column("pretrained_on", "pretrained on"), lambda entry: _learned_from(entry.member))


class Transfer:
    """Pretrained elsewhere, against scratch, longer-steps and the same pretraining on the finetuned data."""

    title: ClassVar[str] = "Does pretraining carry over to other systems?"
    looks_at: ClassVar[str] = (
        "strategies that carry over all weights of a pretraining on another dataset; the same pretraining on the "
        "finetuned dataset; scratch; longer-steps"
    )
    x: ClassVar[str] = "the dataset of the pretraining (`pretraining_dataset`)"
    rule: ClassVar[str] = (
        "Yes if test force RMSE after masking on another dataset is lower than from scratch and than longer-steps, on "
        "every dataset; no if it is not lower than one of them. Against the same pretraining on the finetuned data it "
        f"is shown beside; other pretrainings than masking are shown and not judged. {COMMON}"
    )

    def answer(self, experiment: Experiment) -> Answer:
        """The answer from the tables of an experiment."""
        moved = [Entry(m, m.name) for m in experiment.members if m.whole and m.elsewhere]
        own = [Entry(m, m.name) for e in moved if (m := own_data(experiment, e.member)) is not None]
        references = [scratch(experiment), longer(experiment), against_own(experiment)]
        compared = compare(_by_place(with_baselines(experiment, _first_of_each([*own, *moved]))), references)
        table = error_table(compared, references, "", [PRETRAINED_ON])
        judged = [e for e in compared if e.member.elsewhere and e.member.result.task == "masking"]
        missing = _missing(compared)
        if not judged:
            return not_there(table, lambda: nothing_to_draw(missing), missing)
        changes = [e.change(label) for e in judged for label in ("scratch", "longer-steps")]
        verdict = join_verdicts(c.verdict if c else "undecided" for c in changes)
        return Answer(
            JUDGEMENTS[verdict],
            (f"{WORDS[verdict]}: {_first(judged)}.", f"{_second(judged, compared)}."),
            table,
            LEGEND,
            lambda: _figure(compared, references),
            missing,
        )


def own_data(experiment: Experiment, member: Member) -> Member | None:
    """The strategy with the same pretraining on the finetuned data, of one that was pretrained elsewhere."""
    if member.elsewhere is None:
        return None
    same = (
        other
        for other in experiment.at(member.place)
        if other.whole and other.elsewhere is None and dict(other.pretrained) == dict(member.pretrained)
    )
    return next(same, None)


def against_own(experiment: Experiment) -> Against:
    """Pretrained elsewhere against the same pretraining on the finetuned data."""
    return Against(OWN, lambda member: own_data(experiment, member))


def route(member: Member) -> str:
    """``small to large``: from where to where."""
    return f"{member.elsewhere or member.place[0]} to {member.place[0]}"


def _learned_from(member: Member) -> str | None:
    if member.result.pretraining is None:
        return None
    return member.elsewhere or member.place[0]


def _first_of_each(entries: Sequence[Entry]) -> list[Entry]:
    found: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        found.setdefault((*entry.member.place, entry.member.name), entry)
    return list(found.values())


def _by_place(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.member.place)


def _first(judged: Sequence[Entry]) -> str:
    parts = []
    for label in ("scratch", "longer-steps"):
        cases: list[Case] = [(_name(entry), entry.change(label)) for entry in judged]
        parts.append(f"against {label} by {listing(cases)}")
    return f"masking on another dataset changes test force RMSE {parts[0]}, and {parts[1]}"


def _second(judged: Sequence[Entry], entries: Sequence[Entry]) -> str:
    cases: list[Case] = [(_name(e), e.change(OWN)) for e in judged if e.change(OWN)]
    if not cases:
        return "The same masking on the finetuned data is not in this experiment"
    own = [e for e in entries if e.member.elsewhere is None and e.member.result.task == "masking"]
    there: list[Case] = [(_name(e), e.change("scratch")) for e in own]
    return (
        f"Against the same masking on the finetuned data it changes by {listing(cases)}; "
        f"that masking changes it against scratch by {listing(there)}"
    )


def _name(entry: Entry) -> str:
    return f"{route(entry.member)}, {entry.member.place[1]}"


def _missing(entries: Sequence[Entry]) -> list[str]:
    moved = [e for e in entries if e.member.elsewhere]
    if not any(e.member.result.task == "masking" for e in moved):
        return ["masking on another dataset than the finetuned one"]
    alone = [e for e in moved if not e.change(OWN)]
    return [f"the pretraining of {e.member.name} on {e.member.place[0]} itself" for e in alone]


def _figure(entries: Sequence[Entry], references: Sequence[Against]) -> Figure:
    shown = [entry for entry in entries if entry.member.result.role != "scratch"]
    return change_forest(shown, references, _line_name)


def _line_name(entry: Entry) -> str:
    where = entry.member.elsewhere
    return f"{entry.member.name} ({where})" if where else entry.member.name
