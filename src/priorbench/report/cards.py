"""Data cards on the page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from priorbench.io import read_object
from priorbench.report.markdown import to_html, without_title
from priorbench.report.pictures import Picture, picture


@dataclass(frozen=True)
class Card:
    """One dataset: its card as text, and its figures."""

    name: str
    text: Markup
    figures: list[Picture]


def cards(folder: Path, data: Path | None, names: set[str]) -> list[Card]:
    """The cards in those folders of ``data`` that have one of these ``names``, and one kept beside the tables."""
    root = data or folder / "data"
    found = sorted({path.parent for name in ("card.md", "card.json") for path in root.glob(f"*/{name}")})
    found = [path for path in found if path.name in names]
    return [_card(path) for path in [*found, *([folder] if (folder / "card.json").is_file() else [])]]


def _card(folder: Path) -> Card:
    page, content = folder / "card.md", folder / "card.json"
    written = page.is_file()
    card: dict[str, Any] = {} if written else read_object(content, (), "make the card again")
    text = without_title(page.read_text(encoding="utf-8")) if written else _plain(card)
    name = folder.name if written else card.get("dataset", {}).get("name", folder.name)
    drawn = [("card.png", "forces, energies and pair distances by side of the split"), ("checks.png", "equilibrium")]
    figures = [picture(folder / file, f"{name}: {what}") for file, what in drawn]
    return Card(name, to_html(text, 3), [figure for figure in figures if figure])


def _plain(card: dict[str, Any]) -> str:
    """A card of which no page was kept: its values, one a row."""
    rows = [(key, value) for key, value in card.items() if not isinstance(value, dict | list)]
    rows += [(key, _short(value)) for key, value in card.items() if isinstance(value, dict) and value]
    lines = [f"| {key} | {str(value).replace('|', '')} |" for key, value in rows if value is not None]
    return "\n".join(["|  |  |", "| --- | --- |", *lines])


def _short(values: dict[str, Any]) -> str:
    flat = [f"{key}: {value}" for key, value in values.items() if not isinstance(value, dict | list)]
    return "; ".join(flat[:12]) + ("; …" if len(flat) > 12 else "")
