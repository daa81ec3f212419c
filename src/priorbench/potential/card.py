"""The model card of a potential: what it is, what it was trained on, how wrong it is, what it must not be used for."""

from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from priorbench.analysis.text import number
from priorbench.backbones.base import Backbone
from priorbench.errors import PriorbenchError
from priorbench.io import read_object, to_json
from priorbench.potential.calculator import load_network
from priorbench.potential.domain import Domain
from priorbench.training.labels import Labels

UNITS = {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³", "length": "Å"}
ERRORS = (("force_rmse", "force RMSE", "meV/Å"), ("energy_rmse", "energy RMSE", "meV/atom"))


def describe(path: Path, as_json: bool) -> str:
    """The card of the potential in ``path`` as Markdown, or as JSON text."""
    model, metadata = load_network(path)
    content = card_of(path, model, metadata)
    return to_json(content) if as_json else page(content)


def card_of(path: Path, model: Backbone, metadata: dict[str, Any]) -> dict[str, Any]:
    """Everything the card says, of the file and of the test errors that lie beside it."""
    spec, labels = metadata["spec"], Labels.from_json(metadata["labels"])
    domain = Domain.from_json(metadata["domain"])
    return {
        "file": str(path),
        "backbone": spec["backbone"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "conservative": model.conservative,
        "symmetries": sorted(model.symmetries),
        "units": UNITS,
        "energy_scale_eV": labels.scale,
        "energy_reference_eV": {chemical_symbols[z]: labels.reference[z] for z in domain.elements}
        if labels.constant is None
        else labels.constant,
        "strategy": spec["strategy"],
        "pretraining": spec.get("pretraining"),
        "protocol": spec.get("protocol"),
        "training": spec["training"],
        "seed": spec["seed"],
        "dataset": spec["dataset"],
        "domain": domain.to_json(),
        "validation": metadata["validation"],
        "test": _test_errors(path),
        "checksum": metadata["checksum"],
        "data_hash": metadata["data_hash"],
        "split_hash": metadata["split_hash"],
        "made_by": metadata["made_by"],
    }


def _test_errors(path: Path) -> dict[str, Any] | None:
    """What the run's test found, where its file still lies beside the network's."""
    beside = path.with_name("test.json")
    try:
        record = read_object(beside, (), "") if beside.exists() else None
    except PriorbenchError:
        return None
    if record is None:
        return None
    names = ["structures", *(f"{prefix}{name}" for prefix in ("", "trivial_") for name, *_ in ERRORS)]
    return {name: record.get(name) for name in names}


def page(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    backbone, domain, training = card["backbone"], Domain.from_json(card["domain"]), card["training"]
    options = ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in _options(backbone).items())
    way = "scratch" if not card["pretraining"] else f"pretrained by {card['pretraining']}"
    made = card["made_by"]
    lines = [
        f"# Potential of {_formula(domain)}: {backbone['architecture']}, {card['strategy']}, seed {card['seed']}",
        "",
        f"- **Network:** {backbone['architecture']} ({options}), {card['parameters']:,} parameters.",
        f"- **Forces:** {_forces(card)}",
        f"- **Training:** strategy {card['strategy']} ({way}), protocol {card['protocol']}, "
        f"{training['epochs']} epochs, batches of {training['batch_size']}, "
        f"learning rate {training['learning_rate']:g}.",
        f"- **Data:** {card['dataset']}, {domain.structures} structures of {_span(domain.atoms)} atoms; "
        + "; ".join(f"{key} {value}" for key, value in domain.origin.items())
        + ".",
        "",
        "| error | validation | test | trivial predictor |",
        "| --- | --- | --- | --- |",
        *_error_rows(card),
        "",
        "## Where it may be used",
        "",
        f"- Elements {', '.join(chemical_symbols[z] for z in domain.elements)}; any other is refused.",
        "- Closest atoms in training: "
        + ", ".join(f"{_pair(pair)} {length:.2f} Å" for pair, length in domain.closest.items())
        + ".  Closer ones are said.",
        f"- {_boundaries(domain)}",
        f"- {_rigidity(domain)}",
        "",
        "## Units",
        "",
        f"Energies in eV, forces in eV/Å, lengths in Å.  {_reference(card)}",
        "",
        "## Use",
        "",
        "```python",
        "from priorbench import load_potential",
        "",
        f"atoms.calc = load_potential({card['file']!r})",
        "```",
        "",
        "## Provenance",
        "",
        f"Weights `{card['checksum']}`, frames `{card['data_hash']}`, split `{card['split_hash']}`; priorbench "
        f"{made['version']}, commit {made['commit'] or 'unknown'}, PyTorch {made['torch']}.",
    ]
    return "\n".join(lines) + "\n"


def _options(backbone: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in backbone.items() if k in ("layers", "width", "cutoff")}


def _formula(domain: Domain) -> str:
    return ", ".join(chemical_symbols[z] for z in domain.elements)


def _span(atoms: tuple[int, int]) -> str:
    return str(atoms[0]) if atoms[0] == atoms[1] else f"{atoms[0]} to {atoms[1]}"


def _pair(pair: str) -> str:
    return "–".join(chemical_symbols[int(z)] for z in pair.split("-"))


def _forces(card: dict[str, Any]) -> str:
    if card["conservative"]:
        return "the exact negative gradient of the energy; stress is there as well."
    return "from a head of their own, no gradient of the energy: dynamics need not conserve it, and there is no stress."


def _error_rows(card: dict[str, Any]) -> list[str]:
    test = card["test"] or {}
    rows = []
    for name, title, unit in ERRORS:
        values = (card["validation"].get(f"val_{name}"), test.get(name), test.get(f"trivial_{name}"))
        cells = " | ".join("not known" if v is None else number(v) for v in values)
        rows.append(f"| {title}, {unit} | {cells} |")
    return rows


def _boundaries(domain: Domain) -> str:
    if domain.periodic:
        return "Trained on periodic structures alone; surfaces and clusters are beyond it."
    return "Trained on structures that are not periodic in every direction."


def _rigidity(domain: Domain) -> str:
    if domain.rigid:
        return "Bonds never changed length in training: run dynamics with rigid molecules, bond forces are not learned."
    return "Bonds vibrate in the training data."


def _reference(card: dict[str, Any]) -> str:
    reference = card["energy_reference_eV"]
    if isinstance(reference, dict):
        parts = ", ".join(f"{symbol} {value:.4f}" for symbol, value in reference.items())
        return f"Energies include {parts} eV an atom."
    return f"Energies include {reference:.4f} eV a structure."
