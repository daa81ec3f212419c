"""How much of masking's gain is a larger head: a scan of the labels' scale, with controls.

A pretrained head starts with larger outputs than an untrained one.  If that is what helps, the gain grows with the size
of the force targets in the network's units, and controls with a head as large but nothing learned gain as much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from matplotlib.figure import Figure

from priorbench.analysis.cases import join_verdicts
from priorbench.analysis.intervals import Paired, Verdict
from priorbench.analysis.results import QUANTITY_NAMES, Quantity
from priorbench.questions.across import Group, gain_change, groups
from priorbench.questions.base import COMMON, JUDGEMENTS, Answer, not_there
from priorbench.questions.compare import Against, Entry, compare, scratch, unique
from priorbench.questions.draw import change_mark, nothing_to_draw
from priorbench.questions.experiment import Experiment, Member, Place, is_mask
from priorbench.questions.lines import Abscissa, Panel, Series, line_figure
from priorbench.questions.sentences import WORDS, Case, listing
from priorbench.questions.table import LEGEND, error_table, extra

#: What each strategy is in this question, with its colour; the first is what is asked about.
KINDS = {
    "mask": "#009E73",
    "rescaled heads": "#000000",
    "permuted targets": "#CC79A7",
    "fresh heads": "#56B4E9",
    "supervised": "#D55E00",
}
#: Controls with a larger head that learned nothing of where atoms lie.
EMPTY = ("rescaled heads", "permuted targets")
_CAPTION = (
    "Change of test RMSE against scratch at the same scale, paired by seed: mean, 95 % interval, moved aside for "
    "clarity. Grey ground: changes too small to count (±3 %)."
)


@dataclass(frozen=True)
class Scan:
    """One group judged: how masking's gain changes from the least to the largest scale, and masking against controls.

    ``last`` is the entry with the largest scale in units of the force rms, if any is; ``controls`` are masking's
    changes against each of ``EMPTY`` there; ``growth`` is None where the scale was not scanned.
    """

    group: Group
    last: Place
    growth: Paired | None
    controls: Mapping[str, Paired]

    @property
    def verdict(self) -> Verdict:
        """Whether part of the gain is a larger head."""
        against = [found.verdict for found in self.controls.values()]
        growth = self.growth.verdict if self.growth else "undecided"
        if self.growth is None and len(self.group.places) > 1:
            return "undecided"  # which scale is the largest is not known
        if growth == "contradicted" or (against and set(against) == {"reproduced"}):
            return "contradicted"
        return "reproduced" if growth == "reproduced" and "contradicted" in against else "undecided"


class Artefact:
    """Label scales × strategies, each against scratch at the same scale."""

    title: ClassVar[str] = "Is part of masking's gain a head that starts larger?"
    looks_at: ClassVar[str] = (
        "scratch, masking, scratch with rescaled heads, masking with permuted targets, masking with fresh heads and "
        "pretraining on energies and forces, over backbone entries of one architecture that differ in their label scale"
    )
    x: ClassVar[str] = "`target_rms` of finetuning: the root mean square of the force targets in the network's units"
    rule: ClassVar[str] = (
        "Yes if the ratio of masking's test force RMSE to scratch's is lower at the largest label scale than at the "
        "least (the gain grows) and at the largest masking is not lower than scratch with rescaled heads or than "
        "masking with permuted targets (the gain is matched by a control that has learned nothing); no if the gain "
        "does not grow, or if masking is lower than every such control that was run; undecided otherwise. Fresh heads "
        "and supervised pretraining are shown beside. Other units of the labels than the force rms are shown under "
        f"their name, and no growth is judged between them. {COMMON}"
    )

    def answer(self, experiment: Experiment) -> Answer:
        """The answer from the tables of an experiment."""
        found = groups(experiment, scale, least=1)
        entries = [
            Entry(member, name(s), s[1])
            for group in found
            for s, place in group.places.items()
            for member in experiment.at(place)
            if member.result.role == "scratch" or kind(member)
        ]
        references = [scratch(experiment), against_control(experiment)]
        compared = compare(entries, references)
        table = error_table(compared, references, "label scale", [extra("control", "what it is", "text", _kind_of)])
        missing = _missing(found, compared)
        scans = [_scan(experiment, group, compared) for group in found if experiment.mask(group.places[group.ends[1]])]
        if not scans:
            return not_there(table, lambda: nothing_to_draw(missing), missing)
        verdict = join_verdicts(scan.verdict for scan in scans)
        return Answer(
            JUDGEMENTS[verdict],
            (f"{WORDS[verdict]}: {_first(scans)}.", f"{_second(scans, compared)}."),
            table,
            LEGEND,
            lambda: _figure(experiment, found, compared),
            missing,
        )


def scale(member: Member) -> tuple[str, float]:
    """The unit of the labels (the force rms before any other) and the size of the targets in it."""
    spread = str(member.settings.get("label_spread", "force-rms"))
    return ("" if spread == "force-rms" else spread), float(member.settings.get("target_rms", 1.0))


def name(of: tuple[str, float]) -> str:
    """``74``, or ``energy-per-atom`` for another unit than the force rms."""
    return f"{of[1]:g}" if not of[0] else of[0] if of[1] == 1 else f"{of[0]} × {of[1]:g}"


def kind(member: Member) -> str | None:
    """What a strategy is in this question; None for one that does not belong to it."""
    if member.settings.get("rescale"):
        return "rescaled heads"
    if member.result.task == "potential":
        return "supervised" if member.whole else None
    if member.result.task != "masking" or member.elsewhere:
        return None
    if not member.whole:
        return "fresh heads"
    if member.pretrained.get("permute"):
        return "permuted targets"
    return "mask" if is_mask(member) else None


def against_control(experiment: Experiment) -> Against:
    """Masking against any other strategy of the question."""

    def find(member: Member) -> Member | None:
        mask = experiment.mask(member.place)
        return None if mask is member or member.result.role == "scratch" else mask

    return Against("mask", find, turned=True)


def _kind_of(entry: Entry) -> str | None:
    return kind(entry.member)


def _scan(experiment: Experiment, group: Group, entries: Sequence[Entry]) -> Scan:
    numeric = [place for (unit, _), place in group.places.items() if not unit]
    last = numeric[-1] if numeric else group.places[group.ends[1]]
    mask = experiment.mask(last)
    growth = gain_change(experiment, mask.name, last, numeric[0]) if mask and len(numeric) > 1 else None
    controls = {k: c for e in entries if e.member.place == last and (k := kind(e.member)) and (c := e.change("mask"))}
    return Scan(group, last, growth, {k: controls[k] for k in EMPTY if k in controls})


def _first(scans: Sequence[Scan]) -> str:
    cases: list[Case] = [(_label(scan, scans), scan.growth) for scan in scans]
    ends = unique(f"from a label scale of {name(scan.group.ends[0])} to {name(scan.group.ends[1])}" for scan in scans)
    return f"{' and '.join(ends)} the ratio of masking's test force RMSE to scratch's changes by {listing(cases)}"


def _second(scans: Sequence[Scan], entries: Sequence[Entry]) -> str:
    gains: list[Case] = []
    for scan in scans:
        own = [e for e in entries if e.member.place == scan.last and kind(e.member) == "mask"]
        gains += [(_label(scan, scans), e.change("scratch")) for e in own]
    controls = [(", ".join(filter(None, (k, _label(s, scans)))), c) for s in scans for k, c in s.controls.items()]
    held = f"against controls that learned nothing by {listing(controls)}" if controls else "no control was run"
    return f"At the largest masking changes test force RMSE against scratch by {listing(gains)}, and {held}"


def _label(scan: Scan, scans: Sequence[Scan]) -> str:
    return scan.group.title if len(scans) > 1 else ""


def _missing(found: Sequence[Group], entries: Sequence[Entry]) -> list[str]:
    there = {kind(entry.member) for entry in entries}
    missing = [k for k in KINDS if k not in there]
    scanned = any(len(group.places) > 1 for group in found)
    return missing if scanned else [*missing, "a scan of the label scale"]


def _figure(experiment: Experiment, found: Sequence[Group], entries: Sequence[Entry]) -> Figure:
    numeric = all(not unit for group in found for unit, _ in group.places)
    names = unique(name(s) for group in found for s in group.places)
    rows = [[_panel(experiment, group, entries, q, names, numeric) for group in found] for q in QUANTITY_NAMES]
    label = "label scale (rms force target)" if numeric else "label scale"
    return line_figure(rows, Abscissa(label, "log" if numeric else "names", names), _CAPTION)


def _panel(
    experiment: Experiment, group: Group, entries: Sequence[Entry], q: Quantity, names: Sequence[str], numeric: bool
) -> Panel:
    series = []
    for k, tint in KINDS.items():
        marks = {}
        for s, place in group.places.items():
            entry = _one(entries, place, k)
            mark = (
                change_mark(entry.change("scratch", q), entry.member, experiment.scratch(place), q) if entry else None
            )
            if mark is not None:
                marks[s[1] if numeric else float(names.index(name(s)))] = replace(mark, seeds=[])
        if marks:
            series.append(Series(k, tint, marks, hollow=k in EMPTY))
    return Panel(group.title if q == "force" else "", series, (), f"Δ {q} RMSE / %")


def _one(entries: Sequence[Entry], place: Place, k: str) -> Entry | None:
    return next((entry for entry in entries if entry.member.place == place and kind(entry.member) == k), None)
