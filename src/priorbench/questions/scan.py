"""Questions that scan one option of masking: what is masked, by which loss, how much of it, read from where."""

from collections.abc import Sequence
from typing import Any, ClassVar

from matplotlib.figure import Figure

from priorbench.analysis.cases import join_verdicts
from priorbench.analysis.intervals import Paired, Verdict
from priorbench.questions.base import COMMON, JUDGEMENTS, Answer, not_there
from priorbench.questions.compare import Against, Entry, compare, longer, same_but, scratch, unique, with_baselines
from priorbench.questions.draw import nothing_to_draw
from priorbench.questions.experiment import Experiment, Member, Place
from priorbench.questions.lines import Scale
from priorbench.questions.scan_figure import scan_figure
from priorbench.questions.sentences import WORDS, Case, join, listing
from priorbench.questions.table import LEGEND, Extra, error_table, extra


class Scan:
    """Maskings that differ in one ``option`` alone, each against scratch, longer-steps and the ``paper`` 's choice.

    Whether the paper's choice beats every other (``superior``), or whether no other beats it.
    """

    title: ClassVar[str]
    option: ClassVar[str]
    paper: ClassVar[Any]
    superior: ClassVar[bool]
    scale: ClassVar[Scale] = "names"
    axis: ClassVar[str]
    names: ClassVar[dict[Any, str]] = {}
    extras: ClassVar[Sequence[Extra]] = ()

    @property
    def looks_at(self) -> str:
        """Which strategies are compared."""
        return (
            f"pretrainings by masking that carry all weights over and differ from masking with "
            f"{self.option} = {self.paper} in {self.option} alone; scratch; longer-steps"
        )

    @property
    def x(self) -> str:
        """How the abscissa is read."""
        return f"`{self.option}` of the masking pretraining"

    @property
    def rule(self) -> str:
        """How it is judged."""
        paper = self.named(self.paper)
        if self.superior:
            own = f"Yes if test force RMSE with {paper} is lower than with every other value (Δ of {paper} against it)"
            return f"{own}, no if it is not lower than with one of them. {COMMON}"
        own = (
            f"Yes if test force RMSE is lower than with {paper} for no other value, every Δ against it wholly above −m"
        )
        return f"{own}; no if one is lower and survives Holm's correction, or undecided if it does not. {COMMON}"

    def answer(self, experiment: Experiment) -> Answer:
        """The answer from the tables of an experiment."""
        references = [scratch(experiment), longer(experiment), self._against_paper(experiment)]
        scan = [entry for place in experiment.places for entry in self._at(experiment, place)]
        compared = compare(with_baselines(experiment, scan), references)
        table = error_table(compared, references, self.option, self.extras)
        entries = [entry for entry in compared if entry.x]
        missing = self._missing(entries)
        rivals = [entry for entry in entries if entry.change(str(self.paper)) is not None]
        if not rivals:
            return not_there(table, lambda: nothing_to_draw(missing), missing)
        verdict = join_verdicts(self._verdict(entry.change(str(self.paper))) for entry in rivals)
        return Answer(
            JUDGEMENTS[verdict],
            (self._first(experiment, rivals, verdict), self._second(experiment, entries)),
            table,
            LEGEND,
            lambda: self._figure(experiment, entries),
            missing,
        )

    def named(self, value: Any) -> str:
        """A value of the option in words."""
        return self.names.get(value, f"{value:g}" if isinstance(value, float) else str(value))

    def _at(self, experiment: Experiment, place: Place) -> list[Entry]:
        """The scan at one place, in the order of ``names`` or ascending, one member a value."""
        found: dict[Any, Member] = {}
        base = self._base(experiment, place)
        for member in experiment.at(place):
            value = member.pretrained.get(self.option)
            ours = base is not None and same_but(member.pretrained, base.pretrained, self.option)
            if ours and value is not None and _is_masking(member):
                found.setdefault(value, member)
        order = sorted(found) if self.scale != "names" else [*(n for n in self.names if n in found), *found]
        return [self._entry(value, found[value]) for value in dict.fromkeys(order)]

    def _base(self, experiment: Experiment, place: Place) -> Member | None:
        """Masking as the paper sets this option: the one that claims are judged by, or else any."""
        mask = experiment.mask(place)
        if mask is not None and mask.pretrained.get(self.option) == self.paper:
            return mask
        found = (m for m in experiment.at(place) if _is_masking(m) and m.pretrained.get(self.option) == self.paper)
        return next(found, None)

    def _entry(self, value: Any, member: Member) -> Entry:
        return Entry(member, self.named(value), float(value) if self.scale != "names" else None)

    def _against_paper(self, experiment: Experiment) -> Against:
        def find(member: Member) -> Member | None:
            base = self._base(experiment, member.place)
            return None if base is None or base.name == member.name or not _is_masking(member) else base

        return Against(str(self.paper), find, turned=self.superior)

    def _verdict(self, found: Paired | None) -> Verdict:
        assert found is not None
        if self.superior:
            return found.verdict
        turned: dict[Verdict, Verdict] = {"contradicted": "reproduced", "reproduced": "contradicted"}
        verdict = turned.get(found.verdict, "undecided")
        return "undecided" if verdict == "contradicted" and not found.survives else verdict

    def _missing(self, entries: Sequence[Entry]) -> list[str]:
        there = {entry.x for entry in entries}
        wanted = [self.named(value) for value in ([*self.names] if self.scale == "names" else [self.paper])]
        missing = [f"masking with {self.option} {name}" for name in wanted if name not in there]
        alone = self.scale != "names" and len(there) < 2
        return [*missing, f"masking with another {self.option}"] if alone else missing

    def _first(self, experiment: Experiment, rivals: Sequence[Entry], verdict: Verdict) -> str:
        cases = [(_where(experiment, entry, entry.x), entry.change(str(self.paper))) for entry in rivals]
        paper, others = self.named(self.paper), join(unique(entry.x for entry in rivals))
        pair = f"with {paper} against {others}" if self.superior else f"with {others} against {paper}"
        return f"{WORDS[verdict]}: masking {pair} changes test force RMSE by {listing(cases)}."

    def _second(self, experiment: Experiment, entries: Sequence[Entry]) -> str:
        parts = []
        for label in ("longer-steps", "scratch"):
            cases: list[Case] = [(_where(experiment, e, e.x), e.change(label)) for e in entries if e.change(label)]
            parts.append(f"against {label} by {listing(cases)}")
        return f"It changes {parts[0]}, and {parts[1]}."

    def _figure(self, experiment: Experiment, entries: Sequence[Entry]) -> Figure:
        return scan_figure(experiment, entries, self.axis, self.scale)


def _is_masking(member: Member) -> bool:
    return member.whole and member.result.task == "masking" and member.elsewhere is None


def _where(experiment: Experiment, entry: Entry, name: str) -> str:
    return ", ".join(part for part in (name, experiment.label(entry.member.place)) if part)


class Element(Scan):
    """Q1: hydrogen, heavy atom or any."""

    title = "Why mask hydrogen and not oxygen?"
    option, paper, superior = "element", "hydrogen", True
    axis = "masked atom"
    names: ClassVar[dict[Any, str]] = {"hydrogen": "hydrogen", "heavy": "heavy", "any": "any"}


class Loss(Scan):
    """Q2: cosine, L1 or L2."""

    title = "Why the cosine loss and not L1 or L2?"
    option, paper, superior = "loss", "cosine", True
    axis = "loss of masking"
    names: ClassVar[dict[Any, str]] = {"cosine": "cosine", "l1": "L1", "l2": "L2"}


class Ratio(Scan):
    """Q4: the fraction of molecules that lose an atom."""

    title = "Which fraction of the molecules should be masked?"
    option, paper, superior = "ratio", 0.5, False
    scale: ClassVar[Scale] = "linear"
    axis = "masking ratio"


class Readout(Scan):
    """Q6: own, the gradient of the energy, or the moves of the atoms."""

    title = "What must change for energy- and force-centric backbones: where are pretraining's vectors read?"
    option, paper, superior = "readout", "own", False
    axis = "readout of pretraining"
    names: ClassVar[dict[Any, str]] = {"own": "own", "gradient": "gradient", "coordinates": "coordinates"}
    extras: ClassVar[Sequence[Extra]] = [
        extra("forces_by", "backbone's own", "text", lambda entry: entry.member.result.readout)
    ]
