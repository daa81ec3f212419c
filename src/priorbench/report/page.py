"""``report.html``: an experiment on one page that needs nothing but a browser."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from priorbench import __version__
from priorbench.io import write_text
from priorbench.report.breakdown import breakdown, breakdown_table, parity
from priorbench.report.cards import cards
from priorbench.report.curves import ABSCISSAE, convergence
from priorbench.report.dynamics import dynamics
from priorbench.report.forest import forest
from priorbench.report.leaderboard import leaderboard
from priorbench.report.parts import Part, load_parts
from priorbench.report.pictures import picture
from priorbench.report.provenance import provenance, reproduce
from priorbench.report.verdicts import answer, cases, claims

ASSETS = Path(__file__).with_name("assets")
LEAD = (
    "Pretraining of neural potentials on structures alone, against training from scratch and training for longer: "
    "{strategies} strategies, {backbones}, on {datasets}; {runs} runs with seeds {seeds}."
)


def report(experiment: Path, output: Path, config: str, data: Path | None = None) -> None:
    """Write the page of the experiment, or of the questions, in the folder ``experiment``.

    ``config`` is the configuration that its commands name; ``data`` the folder of the data cards, ``experiment``/data
    where None.
    """
    parts = load_parts(experiment)
    write_text(output, page(parts, experiment, config, data))


def page(parts: list[Part], folder: Path, config: str, data: Path | None) -> str:
    """The page as text."""
    answers = [said for part in parts if (said := answer(part))]
    claimed = [(part.name, found, cases(part)) for part in parts if (found := claims(part))]
    shown = cards(folder, data)
    plots = {
        "abscissae": ABSCISSAE,
        "convergence": convergence(parts),
        "forest": forest(parts),
        "breakdown": breakdown(parts),
        "parity": parity(parts),
    }
    drawn = [picture(part.folder / "figures/dynamics.png", "Stability, distributions, energy drift") for part in parts]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    template = environment.from_string((ASSETS / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=_title(parts, folder),
        lead=_lead(parts),
        notes=_notes(parts),
        sections=_sections(bool(answers), bool(shown)),
        answers=answers,
        claimed=claimed,
        leaderboard=leaderboard(parts),
        details=breakdown_table(parts),
        dynamics=dynamics(parts),
        pictures=[p for p in drawn if p],
        cards=shown,
        provenance=provenance(parts),
        reproduce=reproduce(parts, config),
        config=config,
        data=plots,
        data_json=_json(plots),
        css=_asset("page.css"),
        js=_asset("page.js"),
        plotly=_plotly(),
        version=__version__,
    )


def _title(parts: list[Part], folder: Path) -> str:
    return str(parts[0].runs["experiment"].iloc[0]) if len(parts) == 1 else folder.name


def _lead(parts: list[Part]) -> str:
    places = [place for part in parts for place in part.statistics.places]
    results = [result for part in parts for result in part.statistics.strategies]
    seeds = sorted({seed for result in results for seed in result.seeds})
    return LEAD.format(
        strategies=len({result.strategy for result in results}),
        backbones=", ".join(sorted({backbone for _, backbone in places})),
        datasets=", ".join(sorted({dataset for dataset, _ in places})),
        runs=sum(len(part.runs) for part in parts),
        seeds=", ".join(map(str, seeds)),
    )


def _notes(parts: list[Part]) -> list[str]:
    """Recipe and evidence, once where all parts say the same."""
    found = [" ".join(text for text in (part.recipe, part.evidence) if text) for part in parts]
    if len(set(found)) == 1:
        return found[:1]
    return [f"{part.name}: {text}" for part, text in zip(parts, found, strict=True)]


def _sections(answered: bool, data: bool) -> list[tuple[str, str]]:
    return [
        ("verdicts", "Verdicts"),
        ("errors", "Leaderboard"),
        ("convergence", "Convergence"),
        ("gain", "Change"),
        ("parts", "Where the errors lie"),
        *([("answers", "Answers")] if answered else []),
        ("dynamics", "Dynamics"),
        *([("data", "Data")] if data else []),
        ("provenance", "Provenance"),
    ]


def _json(plots: dict[str, Any]) -> Markup:
    """JSON that may stand in a script element: no tag ends it."""
    text = json.dumps(plots, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _asset(name: str) -> Markup:
    return Markup((ASSETS / name).read_text(encoding="utf-8"))


def _plotly() -> Markup:
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())
