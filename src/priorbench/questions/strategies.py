"""Q10: masking against the other pretraining strategies, all at matched compute."""

from collections.abc import Sequence
from typing import ClassVar

from priorbench.analysis.cases import join_verdicts
from priorbench.questions.base import COMMON, JUDGEMENTS, Answer, not_there
from priorbench.questions.compare import Against, Entry, compare, longer, scratch, unique, with_baselines
from priorbench.questions.draw import nothing_to_draw
from priorbench.questions.experiment import Experiment, Member
from priorbench.questions.forest_figure import change_forest
from priorbench.questions.sentences import WORDS, Case, listing
from priorbench.questions.table import LEGEND, error_table, extra

_LONGER = ("longer-steps", "longer-compute")


class Strategies:
    """Every pretraining strategy, ranked."""

    title: ClassVar[str] = "How does masking compare with other pretraining strategies?"
    looks_at: ClassVar[str] = "every pretrained strategy that is no control or value of a scan, on its own structures"
    x: ClassVar[str] = "the task of the pretraining and its labels"
    rule: ClassVar[str] = (
        "Yes (masking is the most accurate) if its test force RMSE is lower than that of every other pretraining "
        "strategy; no if it is not lower than that of one of them. Matched compute: each is held against the longer "
        f"run of as many counted FLOPs. Rows are ranked by their change against scratch. {COMMON}"
    )

    def answer(self, experiment: Experiment) -> Answer:
        """The answer from the tables of an experiment."""
        chosen = [Entry(m, _task(m)) for place in experiment.places for m in pretrained(experiment, place)]
        references = [scratch(experiment), *(longer(experiment, role) for role in _LONGER), against_mask(experiment)]
        entries = _ranked(compare(with_baselines(experiment, chosen, _LONGER), references))
        labels = extra("labels", "labels", "text", lambda entry: _labels(entry.member))
        table = error_table(entries, references, "task", [labels])
        missing = _missing(experiment, entries)
        rivals = [entry for entry in entries if entry.change("mask")]
        if not rivals:
            return not_there(table, lambda: nothing_to_draw(missing), missing)
        shown = [entry for entry in entries if entry.member.result.role != "scratch"]
        there = [a for a in references[:3] if any(entry.change(a.label) for entry in shown)]
        verdict = join_verdicts(change.verdict for e in rivals if (change := e.change("mask")))
        return Answer(
            JUDGEMENTS[verdict],
            (f"{WORDS[verdict]}: {_first(experiment, rivals)}.", f"{_second(experiment, entries)}."),
            table,
            LEGEND,
            lambda: change_forest(shown, there),
            missing,
        )


def pretrained(experiment: Experiment, place: tuple[str, str]) -> list[Member]:
    """The pretrained strategies of a place that are no variants and learned from its own structures."""
    return [m for m in experiment.at(place) if m.result.role == "pretrained" and m.elsewhere is None]


def against_mask(experiment: Experiment) -> Against:
    """Masking against any other strategy that was pretrained."""

    def find(member: Member) -> Member | None:
        mask = experiment.mask(member.place)
        return None if member.result.pretraining is None or mask is member else mask

    return Against("mask", find, turned=True)


def _ranked(entries: Sequence[Entry]) -> list[Entry]:
    """By place, then scratch, then from the largest decrease of the force error to the largest increase."""

    def key(entry: Entry) -> tuple[tuple[str, str], bool, float]:
        found = entry.change("scratch")
        delta = found.delta if found and found.delta is not None else float("inf")
        return entry.member.place, entry.member.result.role != "scratch", delta

    return sorted(entries, key=key)


def _task(member: Member) -> str:
    return member.result.task or ""


def _labels(member: Member) -> str | None:
    values = unique(str(v) for v in member.pretrainings["labels"] if v is not None)
    return ", ".join(values) or None


def _first(experiment: Experiment, rivals: Sequence[Entry]) -> str:
    cases = [(_name(experiment, entry), entry.change("mask")) for entry in rivals]
    return f"masking against the other pretraining strategies changes test force RMSE by {listing(cases)}"


def _second(experiment: Experiment, entries: Sequence[Entry]) -> str:
    parts = []
    for role in _LONGER:
        cases: list[Case] = [(_name(experiment, e), e.change(role)) for e in entries if e.change(role)]
        if cases:
            unit = "steps" if role == "longer-steps" else "counted FLOPs"
            parts.append(f"with as many {unit} by {listing(cases)}")
    return (
        f"Against training from scratch pretraining changes it {'; '.join(parts)}"
        if parts
        else "No longer run is there"
    )


def _name(experiment: Experiment, entry: Entry) -> str:
    return ", ".join(part for part in (entry.member.name, experiment.label(entry.member.place)) if part)


def _missing(experiment: Experiment, entries: Sequence[Entry]) -> list[str]:
    tasks = {entry.member.result.task for entry in entries}
    wanted = ("masking", "denoising", "masking_denoising", "potential")
    roles = {entry.member.result.role for entry in entries}
    return [f"pretraining by {task}" for task in wanted if task not in tasks] + [r for r in _LONGER if r not in roles]
