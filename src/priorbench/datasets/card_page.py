"""The data card as a page for reading (Markdown)."""

from collections.abc import Iterable, Mapping
from typing import Any

from priorbench.datasets.groups import Nearness
from priorbench.splits import SIDES


def page(card: Mapping[str, Any]) -> str:
    """The Markdown text of a card's content."""
    dataset = card.get("dataset", {})
    parts = [
        f"# Data card: {dataset.get('name', card['source'])}",
        f"{_sentence(card['description'])}",
        _table(("", ""), _provenance(card)),
        "![Forces, energies and pair distances by side of the split](card.png)",
        *_options(card),
        "## Content",
        _table(("", ""), _content(card)),
        *_subsystems(card),
        "Shortest distances: " + ", ".join(f"{p} {d:.3f} Å" for p, d in card["shortest_distances_A"].items()) + ".",
        f"{card['policy']}  There are {card['intact_molecules']:,} intact molecules; "
        f"{card['structures_not_all_intact']:,} of {card['structures']:,} structures hold atoms outside them."
        + _nearest_oxygen(card),
        *_trajectories(card),
        "## Labels",
        _table(("side", "structures", "force std, eV/Å", "energy std after reference, meV/atom"), _labels(card)),
        _reference(card["energy_reference"]),
        "## Splits",
        f"{_groups(card)}  Structures by side, groups in brackets:",
        _table(
            ("seed", *SIDES, "left out as too near", "nearest to training: validation, test"),
            map(_split, card["splits"]),
        ),
        _separation(card),
        *_files(card),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _provenance(card: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "source", f"`{card['source']}`"
    for key in ("url", "licence", "citation"):
        if card.get(key):
            yield key, str(card[key])
    yield "units", f"in: {card['units']['in']}; out: {card['units']['out']}"
    yield "frames, SHA-256", f"`{card['hash']}`"


def _content(card: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "structures", f"{card['structures']:,}"
    yield "atoms", f"{card['atoms']:,}: " + ", ".join(f"{e} {n:,}" for e, n in card["atoms_by_element"].items())
    sizes = [f"{n:,} of {size} atoms" for size, n in card["structures_by_atoms"].items()]
    yield "sizes", ", ".join(sizes) if len(sizes) <= 12 else f"{len(sizes)} sizes, {sizes[0]} to {sizes[-1]}"
    if card["density_g_per_cm3"]:
        low, high = card["density_g_per_cm3"]
        yield "density", f"{low:.3f} g/cm³" if high - low < 5e-4 else f"{low:.3f} to {high:.3f} g/cm³"
    yield "force components", f"standard deviation {card['force_std_eV_per_A']:.3f} eV/Å"
    yield "largest net force (norm)", f"{card['largest_net_force_eV_per_A']:.3g} eV/Å"
    mean, std = card["energy_mean_eV_per_atom"], card["energy_std_meV_per_atom"]
    spread = f"{std:.1f} meV/atom" if std < 1e4 else f"{std / 1e3:.1f} eV/atom, between compositions"
    yield "energy", f"mean {mean:.4f} eV/atom, standard deviation {spread}"


def _options(card: Mapping[str, Any]) -> list[str]:
    options = card.get("dataset", {}).get("options", {})
    rows = [(f"`{name}`", f"`{value}`") for name, value in options.items() if value is not None]
    return ["## Options", _table(("key", "value"), rows)] if rows else []


def _subsystems(card: Mapping[str, Any]) -> list[str]:
    counts, forces = card["structures_by_subsystem"], card["force_std_by_subsystem_eV_per_A"]
    if len(counts) < 2:
        return []
    rows = [(name, f"{counts[name]:,}", f"{std:.3f}") for name, std in forces.items()]
    return [_table(("sub-system", "structures", "force std, eV/Å"), rows)]


def _trajectories(card: Mapping[str, Any]) -> list[str]:
    """Simulated data: is every trajectory in equilibrium?"""
    trajectories = card.get("trajectories", {})
    if not trajectories:
        return []
    rows = [
        (
            name,
            f"{t['temperature_K']:.1f} ± {t['temperature_standard_error_K']:.1f}",
            f"{t['energy_since_equilibration_eV']:+.2f} ± {t['energy_since_equilibration_standard_error_eV']:.2f}",
            f"{t['energy_drift_between_halves_eV']:+.2f} ± {t['energy_drift_standard_error_eV']:.2f}",
            f"{t['first_OO_peak_height']:.2f} at {t['first_OO_peak_A']:.2f} Å"
            + ("" if t["structure_checked"] else " (not judged)"),
            f"{t['force_std_eV_per_A']:.3f}",
        )
        for name, t in trajectories.items()
    ]
    header = (
        "trajectory",
        "mean temperature, K",
        "energy, frames less late equilibration, eV",
        "energy, second half less first, eV",
        "first O–O peak",
        "force std, eV/Å",
    )
    smoke = card.get("dataset", {}).get("options", {}).get("smoke")
    warning = "**Equilibrated for less than 20 ps: a test of the machinery, no data.**" if smoke else ""
    text = "± is one standard error, as expected in equilibrium; four make a trajectory fail."
    return ["## Trajectories", warning, text, _table(header, rows), "![Temperature, energy and structure](checks.png)"]


def _labels(card: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    for side, values in card["sides"].items():
        spread = values["energy_std_after_reference_meV_per_atom"]
        yield side, f"{values['structures']:,}", f"{values['force_std_eV_per_A']:.3f}", f"{spread:.2f}"


def _groups(card: Mapping[str, Any]) -> str:
    groups, largest = card["groups"], card["largest_group"]
    if card["splits"][0]["official"]:
        return "The sides are the source's own, which does not make them independent: see the distances below."
    if largest == 1:
        return f"There are {groups:,} groups: no structure shares its group with another."
    return f"There are {groups:,} independent groups, the largest of {largest:,} structures; none is on two sides."


def _nearest_oxygen(card: Mapping[str, Any]) -> str:
    if "nearest_oxygen_fails" not in card:
        return ""
    return (
        f"  In {card['nearest_oxygen_fails']:,} of them even the rule that each hydrogen belongs to its nearest oxygen "
        "leaves an oxygen without exactly two."
    )


def _files(card: Mapping[str, Any]) -> list[str]:
    hashes = card.get("sha256", {})
    if not hashes:
        return []
    return ["## Files", _table(("file", "SHA-256"), [(f"`{name}`", f"`{hashes[name]}`") for name in sorted(hashes)])]


def _reference(reference: Mapping[str, Any]) -> str:
    values = ", ".join(f"{element} {value:.4f} eV" for element, value in reference["eV_per_atom"].items())
    text = f"Energies are referenced to the composition, fitted on the {reference['fitted_on']} alone: {values}."
    if reference["determined"]:
        return text
    return (
        f"{text}  The compositions have rank {reference['rank']} for {reference['elements']} elements, so only their "
        "sums over a composition are determined; the division among the elements is that of least norm and means "
        "nothing by itself."
    )


def _split(split: Mapping[str, Any]) -> tuple[str, ...]:
    closest = [split["closest"][side] for side in SIDES[1:]]
    near = ["none below 1 Å" if distance is None else f"{distance:.3f} Å" for distance in closest]
    return (
        str(split["seed"]),
        *(f"{split['structures'][side]:,} ({split['groups'][side]:,})" for side in SIDES),
        str(sum(split["left_out"].values())),
        ", ".join(near),
    )


def _separation(card: Mapping[str, Any]) -> str:
    split, nearness = card["splits"][0], Nearness.of(card)
    atoms = "heavy atoms" if nearness.heavy else "atoms"
    text = (
        "Distances from a structure to the nearest comparable one of the training side, with the same atoms and a "
        f"similar cell, are root mean squares over the displacements of {atoms} (of molecules in vacuum over the "
        "distances between their atoms)."
    )
    lonely = sum(split["not_comparable"].values())
    if lonely:
        text += f"  {lonely:,} validation and test structures are comparable to none."
    limit = f"{split['separation']:g} Å"
    if split["official"]:
        near = split["nearer_than_separation"]
        return (
            f"{text}  The test side is the source's own and taken as it is: {near['test']:,} of its structures and "
            f"{near['validation']:,} validation structures are nearer than {limit}, before any are drawn."
        )
    return f"{text}  Validation and test structures nearer than {limit} are left out."


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ("---",) * len(header), *rows)]
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
