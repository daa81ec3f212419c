"""Q8: what is learned?  Probes of frozen features, masking's loss against its context-free floor, similarities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from matplotlib.figure import Figure

from priorbench.analysis.cases import join_verdicts
from priorbench.analysis.intervals import MARGIN, Estimate, Paired, Verdict, estimate
from priorbench.analysis.style import GREY, colour
from priorbench.analysis.tables import TRIVIAL
from priorbench.evaluation.probe_table import PROBED, SIMILARITY
from priorbench.questions.base import JUDGEMENTS, Answer, not_there
from priorbench.questions.cells import Cell, Column, Table, linear
from priorbench.questions.compare import paired_errors
from priorbench.questions.draw import Mark, error_mark, nothing_to_draw
from priorbench.questions.experiment import Experiment, Member, Place
from priorbench.questions.forest import Block, Heading, Line, forest_figure
from priorbench.questions.sentences import WORDS, capital, quote, value

QUANTITIES = (*PROBED, SIMILARITY)
NAMES = {"oh_length": "R² O–H length", "hoh_angle": "R² H–O–H angle", "hydrogen_bonds": "R² hydrogen bonds"}
NAMES |= {SIMILARITY: "similarity (CKA)"}
_LEGEND = (
    "R²: of ridge regressions on frozen features, on test structures, arithmetic mean [95 % interval] over seeds; the "
    "trivial predictor is their mean. CKA: features after finetuning and before. Loss: of the pretraining, on "
    "validation structures, and its change against the context-free floor in per cent, paired by seed."
)
_CAPTION = (
    "Mean, 95 % interval, seeds as small dots. R² of linear probes on frozen features; dashed: the mean as prediction, "
    "and for the loss the context-free floor, below which a network must read its neighbours."
)

By = Mapping[int, float]


@dataclass(frozen=True)
class Model:
    """A network of one place: untrained, pretrained or finetuned, with its probes by quantity and seed."""

    place: Place
    stage: str
    strategy: str
    task: str | None
    role: str
    probes: Mapping[str, By]
    loss: Estimate | None = None
    below_floor: Paired | None = None

    @property
    def name(self) -> str:
        """``mask, pretrained``."""
        ends = {"pretrain": "pretrained", "finetune": "finetuned"}
        return f"{self.strategy}, {ends[self.stage]}" if self.stage in ends else self.stage


@dataclass(frozen=True)
class Found:
    """What is judged at one place."""

    label: str
    mask: Model
    untrained: Model | None
    finetuned: Model | None
    scratch: Model | None
    gain: Estimate

    @property
    def verdict(self) -> Verdict:
        """Both parts: the loss against the floor, and hydrogen bonds against the untrained network."""
        floor: Verdict = self.mask.below_floor.verdict if self.mask.below_floor else "undecided"
        return join_verdicts([floor, above_margin(self.gain)])


class Learned:
    """Untrained, pretrained and finetuned networks side by side."""

    title: ClassVar[str] = "What does masking learn: do its features know the neighbours?"
    looks_at: ClassVar[str] = "the untrained network, every pretraining, and every finetuned strategy that was probed"
    x: ClassVar[str] = "the stage of a network: untrained, pretrained, finetuned"
    rule: ClassVar[str] = (
        f"Yes if masking's validation loss is lower than its context-free floor (Δ with its 95 % interval over seeds "
        f"wholly below −m, m = {100 * MARGIN:.0f} %) and R² of the number of hydrogen bonds, read linearly from frozen "
        f"features, is larger than the untrained network's by more than {MARGIN:g} (95 % t-interval of the difference, "
        "paired by seed, wholly above); no if either lies wholly on the other side; undecided otherwise and where "
        "either was not measured. Bond lengths, angles, finetuned networks and similarities are shown beside."
    )

    def answer(self, experiment: Experiment) -> Answer:
        """The answer from the tables of an experiment."""
        models = [model for place in experiment.places for model in _models(experiment, place)]
        table = _table(models)
        found = [item for place in experiment.places if (item := _found(experiment, place, models))]
        missing = _missing(experiment, models, bool(found))
        if not found:
            return not_there(table, lambda: nothing_to_draw(missing), missing)
        verdict = join_verdicts(item.verdict for item in found)
        return Answer(
            JUDGEMENTS[verdict],
            (f"{WORDS[verdict]}: {'; '.join(map(_first, found))}.", f"{capital('; '.join(map(_second, found)))}."),
            table,
            _LEGEND,
            lambda: _figure(models),
            missing,
        )


def above_margin(gain: Estimate) -> Verdict:
    """Whether a difference of R² lies with its interval wholly above the margin."""
    if gain.low is None or gain.high is None:
        return "undecided"
    return "reproduced" if gain.low > MARGIN else "contradicted" if gain.high < MARGIN else "undecided"


def _models(experiment: Experiment, place: Place) -> list[Model]:
    members = experiment.at(place)
    own = [m for m in members if m.result.pretraining is not None and m.elsewhere is None]
    parents = {str(name): m for m in reversed(own) for name in m.pretrainings["strategy"].unique()}
    there = [("untrained", "untrained"), *(("pretrain", name) for name in sorted(parents))]
    there += [("finetune", m.name) for m in members]
    found = []
    for stage, name in there:
        member = parents.get(name) if stage == "pretrain" else next((m for m in members if m.name == name), None)
        role = member.result.role if member else ""
        probes = _probes(experiment, place, stage, name)
        loss, below = _losses(member, name) if stage == "pretrain" and member else (None, None)
        if loss is not None or any(probes.values()):
            found.append(Model(place, stage, name, member.result.task if member else None, role, probes, loss, below))
    return found


def _probes(experiment: Experiment, place: Place, stage: str, name: str) -> dict[str, By]:
    if experiment.probes is None:
        return {}
    rows = experiment.probes
    rows = rows[(rows["dataset"] == place[0]) & (rows["backbone"] == place[1]) & (rows["stage"] == stage)]
    rows = rows[rows["strategy"] == name].dropna(subset=["value"])
    found: dict[str, By] = {}
    for quantity in QUANTITIES:
        own = rows[rows["quantity"] == quantity]
        found[quantity] = {int(s): float(v) for s, v in zip(own["seed"], own["value"], strict=True)}
    return found


def _losses(member: Member, name: str) -> tuple[Estimate | None, Paired | None]:
    """Validation loss of a pretraining, and its change against the floor where there is one."""
    rows = member.pretrainings[member.pretrainings["strategy"] == name].sort_values("seed")
    done = rows["status"] == "completed"
    losses = {int(s): float(v) if ok else None for s, v, ok in zip(rows["seed"], rows["loss_best"], done, strict=True)}
    loss = estimate([v for v in losses.values() if v is not None and v > 0])
    floors = {int(s): float(v) for s, v in zip(rows["seed"], rows["floor"], strict=True) if v == v}
    if set(floors) != set(losses) or not floors:
        return loss, None
    return loss, paired_errors(losses, floors, f"{'/'.join(member.place)}/{name}")


def _found(experiment: Experiment, place: Place, models: Sequence[Model]) -> Found | None:
    mask, base = experiment.mask(place), experiment.scratch(place)
    named = {(m.stage, m.strategy): m for m in models if m.place == place}
    pretrained = named.get(("pretrain", str(mask.result.pretraining))) if mask else None
    if mask is None or pretrained is None:
        return None
    untrained = named.get(("untrained", "untrained"))
    after, before = ((m.probes.get("hydrogen_bonds", {}) if m else {}) for m in (pretrained, untrained))
    gain = linear([after[seed] - before[seed] for seed in sorted(set(after) & set(before))])
    finetuned, scratch = (named.get(("finetune", m.name)) if m else None for m in (mask, base))
    return Found(experiment.label(place), pretrained, untrained, finetuned, scratch, gain)


def _read(model: Model | None, quantity: str) -> Estimate:
    return linear(list(model.probes.get(quantity, {}).values()) if model else [])


def _first(found: Found) -> str:
    where = f"for {found.label} " if found.label else ""
    after, before = (value(_read(model, "hydrogen_bonds")) for model in (found.mask, found.untrained))
    return (
        f"{where}masking's validation loss changes against its context-free floor by {quote(found.mask.below_floor)}, "
        f"and R² of hydrogen bonds is {after} after masking and {before} untrained, a difference of {value(found.gain)}"
    )


def _second(found: Found) -> str:
    where = f" {found.label}" if found.label else ""
    bonds, kept = (
        [value(_read(model, quantity)) for model in (found.finetuned, found.scratch)]
        for quantity in ("hydrogen_bonds", SIMILARITY)
    )
    return (
        f"after finetuning{where} it is {bonds[0]} with masking and {bonds[1]} from scratch, and the similarity to the "
        f"features before finetuning is {kept[0]} and {kept[1]}"
    )


def _missing(experiment: Experiment, models: Sequence[Model], masked: bool) -> list[str]:
    missing = [] if masked else ["masking"]
    if experiment.probes is None:
        return [*missing, "probes of frozen features (probes.csv)"]
    there = {q for model in models for q, values in model.probes.items() if values}
    return [*missing, *(NAMES[q] for q in QUANTITIES if q not in there)]


def _table(models: Sequence[Model]) -> Table:
    columns = [Column(name, name) for name in ("dataset", "backbone", "network")]
    columns += [Column(q, NAMES[q], "estimate") for q in QUANTITIES]
    columns += [Column("loss", "validation loss", "estimate"), Column("delta_floor", "Δ vs floor %", "change")]
    table = Table([*columns, Column("seeds", "seeds", "number")])
    for place in dict.fromkeys(model.place for model in models):
        zero = Estimate(0.0, None, None, None, [])
        table.rows.append([*place, TRIVIAL, *[zero] * len(PROBED), None, None, None, None])
        table.rows.extend(_row(model) for model in models if model.place == place)
    return table


def _row(model: Model) -> list[Cell]:
    seeds = max([*map(len, model.probes.values()), len(model.loss.values) if model.loss else 0])
    probes = [_read(model, quantity) for quantity in QUANTITIES]
    return [*model.place, model.name, *probes, model.loss, model.below_floor, seeds]


def _figure(models: Sequence[Model]) -> Figure:
    shown = [q for q in QUANTITIES if any(model.probes.get(q) for model in models)]
    headings = [Heading(NAMES[q], change=False, at=0.0 if q in PROBED else None) for q in shown]
    floors = any(model.below_floor for model in models)
    headings += [Heading("loss over floor", change=False, at=1.0)] if floors else []
    blocks = []
    for place in dict.fromkeys(model.place for model in models):
        own = [model for model in models if model.place == place]
        blocks.append(Block(f"{place[1]}, {place[0]}", [_line(model, shown, floors) for model in own]))
    return forest_figure(blocks, headings, _CAPTION)


def _line(model: Model, shown: Sequence[str], floors: bool) -> Line:
    marks = [error_mark(_read(model, quantity)) for quantity in shown]
    tint = GREY if model.stage == "untrained" else colour(model.role, model.task)
    return Line(model.name, tint, [*marks, *([_over_floor(model)] if floors else [])])


def _over_floor(model: Model) -> Mark | None:
    found = model.below_floor
    if found is None or found.delta is None:
        return None
    low, high = (None if v is None else 1 + v for v in (found.low, found.high))
    return Mark(1 + found.delta, low, high)
