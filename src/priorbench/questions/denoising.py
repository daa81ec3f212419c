"""Q5: masking against denoising over its σ, what each costs, and pretraining on other boxes than the finetuned ones."""

from collections.abc import Sequence
from typing import ClassVar

import pandas as pd
from matplotlib.figure import Figure

from priorbench.analysis.cases import join_verdicts
from priorbench.analysis.text import number
from priorbench.questions.base import COMMON, JUDGEMENTS, Answer, not_there
from priorbench.questions.cells import Cell
from priorbench.questions.compare import Entry, compare, longer, same_but, scratch, unique, with_baselines
from priorbench.questions.draw import nothing_to_draw
from priorbench.questions.experiment import Experiment, Member, Place
from priorbench.questions.scan_figure import scan_figure
from priorbench.questions.sentences import WORDS, Case, join, listing
from priorbench.questions.strategies import against_mask
from priorbench.questions.table import LEGEND, Extra, error_table, extra
from priorbench.questions.transfer import OWN, PRETRAINED_ON, against_own, own_data, route

TUNED = "tuned"


class Denoising:
    """Denoisings that differ in σ alone, and the σ that validates best against masking."""

    title: ClassVar[str] = "Is masking more accurate than denoising at its best σ, also on larger systems?"
    looks_at: ClassVar[str] = (
        "pretrainings by denoising that differ in σ alone; masking; both pretrained on other datasets than the "
        "finetuned one; scratch; longer-steps"
    )
    x: ClassVar[str] = "`sigma` of the denoising pretraining in Å"
    rule: ClassVar[str] = (
        "The best σ of each backbone and dataset is the one with the lowest geometric mean of the *validation* force "
        "RMSE; test errors choose nothing. Yes if masking's test force RMSE is lower than that of denoising at this σ; "
        "no if it is not lower. Strategies pretrained on another dataset (smaller boxes) are held against scratch and "
        f"against the same pretraining on the finetuned boxes, shown beside. Cost: counted FLOPs of a step. {COMMON}"
    )

    def answer(self, experiment: Experiment) -> Answer:
        """The answer from the tables of an experiment."""
        chosen = [entry for place in experiment.places for entry in _at(experiment, place)]
        references = [scratch(experiment), longer(experiment), against_mask(experiment), against_own(experiment)]
        compared = compare(with_baselines(experiment, chosen), references)
        table = error_table(compared, references, "σ Å", _extras(experiment))
        scanned = [e for e in compared if e.member.result.task == "denoising" and e.member.elsewhere is None]
        best = _best(scanned)
        missing = _missing(experiment, compared)
        if not any(entry.change("mask") for entry in best):
            return not_there(table, lambda: nothing_to_draw(missing), missing)
        verdict = join_verdicts(change.verdict for entry in best if (change := entry.change("mask")))
        return Answer(
            JUDGEMENTS[verdict],
            (f"{WORDS[verdict]}: {_first(experiment, best)}.", f"{_second(best, compared)}."),
            table,
            f"{LEGEND} Pretraining and finetuning: counted GFLOP to train on one structure once.",
            lambda: _figure(experiment, scanned),
            missing,
        )


def _at(experiment: Experiment, place: Place) -> list[Entry]:
    """The scan of σ, masking, and what was pretrained elsewhere."""
    denoisings = [m for m in experiment.at(place) if m.whole and m.result.task == "denoising" and m.elsewhere is None]
    base = next((m for m in denoisings if m.result.role == "pretrained"), denoisings[0] if denoisings else None)
    found: dict[str, Entry] = {}
    for member in denoisings:
        sigma = member.pretrained.get("sigma")
        text = TUNED if sigma is None else f"{sigma:g}"
        if base is not None and same_but(member.pretrained, base.pretrained, "sigma"):
            found.setdefault(text, Entry(member, text, None if sigma is None else float(sigma)))
    scan = sorted(found.values(), key=lambda entry: entry.value or 0.0)
    mask = experiment.mask(place)
    moved = [m for m in experiment.at(place) if m.whole and m.elsewhere and m.result.task in ("masking", "denoising")]
    own = [m for m in ([mask] if mask else []) + moved if m.result.task == "masking"]
    others = [m for m in moved if m.result.task != "masking"]
    return [*scan, *(Entry(member, "") for member in [*own, *others])]


def _best(scanned: Sequence[Entry]) -> list[Entry]:
    """Of every place the denoising with the lowest validation force RMSE."""
    places = dict.fromkeys(entry.member.place for entry in scanned)
    own = ([entry for entry in scanned if entry.member.place == place] for place in places)
    return [min(entries, key=lambda entry: entry.member.validation) for entries in own]


def flops_per_structure(runs: pd.DataFrame) -> float | None:
    """Counted FLOPs of training on one structure once; None without a run."""
    visited = runs["structure_steps"].sum()
    return float(runs["flops"].sum() / visited) if visited else None


def _extras(experiment: Experiment) -> list[Extra]:
    def cost(runs: pd.DataFrame, dataset: str, atoms: bool) -> Cell:
        flops = flops_per_structure(runs)
        size = atoms_of(experiment, dataset) if atoms else 1.0
        return None if flops is None or size is None else flops / size / (1e6 if atoms else 1e9)

    columns = [
        PRETRAINED_ON,
        extra("val_force_rmse", "validation force RMSE meV/Å", "number", lambda e: e.member.validation),
        extra("pretrain_gflop_per_structure", "pretraining GFLOP", "number",
              lambda e: cost(e.member.pretrainings, e.member.elsewhere or e.member.place[0], False)),
        extra("finetune_gflop_per_structure", "finetuning GFLOP", "number",
              lambda e: cost(e.member.runs, e.member.place[0], False)),
    ]  # fmt: skip
    if experiment.structures is None:
        return columns
    per_atom = extra("finetune_mflop_per_atom", "finetuning MFLOP/atom", "number",
                     lambda e: cost(e.member.runs, e.member.place[0], True))  # fmt: skip
    return [*columns, per_atom]


def atoms_of(experiment: Experiment, dataset: str) -> float | None:
    """Mean number of atoms in a test structure; None where it is not known."""
    if experiment.structures is None:
        return None
    atoms = experiment.structures.loc[experiment.structures["dataset"] == dataset, "atoms"].dropna()
    return float(atoms.mean()) if len(atoms) else None


def _first(experiment: Experiment, best: Sequence[Entry]) -> str:
    cases: list[Case] = [
        (", ".join(part for part in (_sigma(e), experiment.label(e.member.place)) if part), e.change("mask"))
        for e in best
    ]
    return f"masking against denoising at the σ that validates best changes test force RMSE by {listing(cases)}"


def _sigma(entry: Entry) -> str:
    return f"σ {entry.x}" if entry.x == TUNED else f"σ = {entry.x} Å"


def _second(best: Sequence[Entry], entries: Sequence[Entry]) -> str:
    moved = [e for e in entries if e.member.elsewhere]
    if not moved:
        text = "Nothing was pretrained on other boxes than the finetuned ones"
    else:
        against: list[Case] = [(_name(e), e.change("scratch")) for e in moved]
        own: list[Case] = [(_name(e), e.change(OWN)) for e in moved if e.change(OWN)]
        text = f"Pretrained on other boxes it changes by {listing(against)} against scratch"
        text += f" and by {listing(own)} against the same pretraining on the finetuned boxes" if own else ""
    return text + _costs(best, entries)


def _costs(best: Sequence[Entry], entries: Sequence[Entry]) -> str:
    """What a step of pretraining costs in steps of finetuning, range over the backbones."""
    parts = []
    masks = [e for e in entries if e.member.result.task == "masking" and e.member.elsewhere is None]
    for task, own in (("masking", masks), ("denoising", best)):
        both = [(flops_per_structure(e.member.pretrainings), flops_per_structure(e.member.runs)) for e in own]
        shares = sorted({number(a / b) for a, b in both if a and b})
        if shares:
            parts.append(f"{'–'.join(unique((shares[0], shares[-1])))} for {task}")
    return f"; a pretraining step costs, in finetuning steps, {join(parts)}" if parts else ""


def _name(entry: Entry) -> str:
    return f"{entry.member.result.task}, {route(entry.member)}, {entry.member.place[1]}"


def _missing(experiment: Experiment, entries: Sequence[Entry]) -> list[str]:
    tasks = {entry.member.result.task for entry in entries if entry.member.elsewhere is None}
    missing = [f"pretraining by {task}" for task in ("denoising", "masking") if task not in tasks]
    if len({entry.value for entry in entries if entry.value is not None}) < 2:
        missing.append("denoising at more than one σ")
    moved = [entry for entry in entries if entry.member.elsewhere]
    if not moved:
        return [*missing, "a pretraining on other boxes"]
    alone = [entry for entry in moved if own_data(experiment, entry.member) is None]
    return [*missing, *(f"the pretraining of {e.member.name} on {e.member.place[0]} itself" for e in alone)]


def _figure(experiment: Experiment, scanned: Sequence[Entry]) -> Figure:
    shown = [entry for entry in scanned if entry.value is not None]
    rivals: list[Member] = [m for place in experiment.places if (m := experiment.mask(place)) is not None]
    if not shown:
        return scan_figure(experiment, scanned, "denoising", "names", rivals)
    return scan_figure(experiment, shown, "σ of denoising / Å", "log", rivals)
