"""One page, one file: ``report.html`` opens from disk, without a network, and holds every number of an experiment.

Tables, verdicts and cards are HTML and can be read without JavaScript.  Curves, intervals and parity plots are drawn
from JSON in the page by plotly.js, which is in the page as well and is not run before the page has loaded.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from priorbench.analysis.style import GREY, colour
from priorbench.errors import PriorbenchError
from priorbench.io import write_text
from priorbench.report.breakdown import DETAILS, PARITY, breakdown, breakdown_table, parity
from priorbench.report.cards import cards
from priorbench.report.curves import ABSCISSAE, convergence
from priorbench.report.dynamics import DYNAMICS, dynamics
from priorbench.report.forest import forest
from priorbench.report.leaderboard import leaderboard
from priorbench.report.parts import Part, load_parts
from priorbench.report.pictures import picture
from priorbench.report.provenance import provenance, reproduce
from priorbench.report.verdicts import answer, cases, claims

#: The largest file that a report may be.
LIMIT = 15_000_000

#: Colours that do not stand out from a dark ground, and what takes their place there.
ON_DARK = {"#000000": "#F4F4F2", "#0072B2": "#3D9BDB", GREY: "#A3A39E"}

#: The command of each table that not every experiment has.
_MADE_BY = {DETAILS: "collect_details", PARITY: "collect_details", DYNAMICS: "dynamics"}


@dataclass(frozen=True)
class Missing:
    """A section that is left out, for want of a file, and the command that makes it."""

    file: str
    command: str


def report(folder: Path, output: Path, data: Path | None = None, config: str | None = None) -> None:
    """Write the page of the experiment in ``folder``, or of the questions in its sub-folders.

    ``data`` holds a folder with a card for each dataset (default: ``data`` in ``folder``); ``config`` is the
    configuration file that stands in the printed commands (default: by the folder's name).

    Raises:
        PriorbenchError: a table is missing or of another version, or the page would be larger than ``LIMIT``.
    """
    page = render(folder, data, config or _config_of(folder))
    size = len(page.encode())
    if size > LIMIT:
        much = f"{size / 1e6:.1f} MB, more than {LIMIT / 1e6:.0f}"
        raise PriorbenchError(f"{output}: would have {much}; split the experiment")
    write_text(output, page)


def render(folder: Path, data: Path | None, config: str) -> str:
    """The page as text."""
    parts = load_parts(folder)
    content = _content(parts, folder, data, config)
    environment = Environment(
        loader=PackageLoader("priorbench.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(content)


def _content(parts: list[Part], folder: Path, data: Path | None, config: str) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        "abscissae": ABSCISSAE,
        "curves": convergence(parts),
        "forest": forest(parts),
        "parity": parity(parts),
        "breakdown": breakdown(parts),
    }
    tables = {"details": breakdown_table(parts), "dynamics": dynamics(parts)}
    present = {DETAILS: bool(drawn["breakdown"]), PARITY: bool(drawn["parity"]), DYNAMICS: bool(tables["dynamics"])}
    return {
        "name": folder.resolve().name,
        "parts": parts,
        "facts": [(part.name, _sentence(part), f"{part.recipe} {part.evidence}".strip()) for part in parts],
        "claims": [claim for part in parts for claim in claims(part)],
        "cases": [text for part in parts if (text := cases(part))],
        "answers": [found for part in parts if (found := answer(part))],
        "leaderboard": leaderboard(parts),
        "datasets": _distinct(parts, 0),
        "backbones": _distinct(parts, 1),
        "drawn": drawn,
        **tables,
        "cards": cards(folder, data, _data_of(parts)),
        "card_command": _command("data", config),
        "md_figure": picture(folder / "figures/dynamics.png", "Molecular dynamics with the trained networks"),
        "missing": {
            name: Missing(name, _command(target, config)) for name, target in _MADE_BY.items() if not present[name]
        },
        "runs": provenance(parts),
        "made": reproduce(parts, config),
        "tints": {name: (name, ON_DARK.get(name, name)) for name in _tints(parts)},
        "style": Markup(_asset("style.css")),
        "script": Markup(_asset("report.js")),
        "plotly": Markup(get_plotlyjs()),
        "payload": Markup(embedded(drawn)),
    }


def embedded(value: Any) -> str:
    """JSON that can stand in a script element: no name in it can end the element or begin a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _sentence(part: Part) -> str:
    """What was run, in a sentence."""
    runs = part.runs
    finetuned = runs[runs["stage"] == "finetune"]
    sources = finetuned.groupby("dataset", sort=False)["source"].first()
    data = ", ".join(f"{name} ({source})" if source else str(name) for name, source in sources.items())
    backbones = ", ".join(dict.fromkeys(finetuned["backbone"]))
    lost = int((runs["status"] != "completed").sum())
    return (
        f"{finetuned['strategy'].nunique()} strategies of training {backbones} on {data}, "
        f"{finetuned['seed'].nunique()} seeds: {len(finetuned)} finetuned runs after "
        f"{len(runs) - len(finetuned)} pretrainings, {lost or 'none'} diverged."
    )


def _distinct(parts: list[Part], index: int) -> list[str]:
    return list(dict.fromkeys(place[index] for part in parts for place in part.statistics.places))


def _data_of(parts: list[Part]) -> set[str]:
    """What cards of the experiment's data may be called: datasets, and the sources they come from."""
    return {str(v) for part in parts for column in ("dataset", "source") for v in part.runs[column].dropna()}


def _tints(parts: list[Part]) -> list[str]:
    found = [colour(r.role, r.task) for part in parts for r in part.statistics.strategies]
    return list(dict.fromkeys([*found, GREY]))


def _command(target: str, config: str) -> str:
    return f"snakemake {target} --cores all --configfile {config}"


def _config_of(folder: Path) -> str:
    name = folder.resolve().name
    return "config.yaml" if name == "default" else f"workflow/presets/{name}.yaml"


def _asset(name: str) -> str:
    return files("priorbench.report").joinpath("assets", name).read_text(encoding="utf-8")
