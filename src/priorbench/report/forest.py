"""The change against scratch and against longer training, with intervals, for the forest plot of the page."""

from typing import Any

from priorbench.analysis.intervals import MARGIN
from priorbench.analysis.results import QUANTITY_NAMES, TABLE_ROLES, Comparison, StrategyResult
from priorbench.analysis.style import colour
from priorbench.analysis.tables import reference_comparison
from priorbench.analysis.text import change
from priorbench.report.curves import rounded
from priorbench.report.parts import Part


def forest(parts: list[Part]) -> dict[str, Any]:
    """The margin of the verdicts, and by quantity and reference one group a place with a row a strategy."""
    return {
        "margin": MARGIN,
        "groups": {f"{q} {role}": _groups(parts, q, role) for q in QUANTITY_NAMES for role in TABLE_ROLES},
    }


def _groups(parts: list[Part], quantity: str, role: str) -> list[dict[str, Any]]:
    found = []
    for part in parts:
        for place in part.statistics.places:
            pairs = ((r, reference_comparison(part.statistics, r, role, quantity)) for r in part.statistics.of(*place))
            rows = [_row(result, comparison) for result, comparison in pairs if comparison]
            found.append({"label": part.label(*place), "rows": rows})
    return [group for group in found if group["rows"]]


def _row(result: StrategyResult, comparison: Comparison) -> dict[str, Any]:
    paired = comparison.change
    return {
        "name": result.strategy,
        "tint": colour(result.role, result.task),
        "thin": result.role == "variant",
        "text": change(paired),
        "verdict": paired.verdict + (", survives Holm" if paired.survives else ""),
        "pairs": paired.pairs,
        **{key: rounded(getattr(paired, key), 5) for key in ("delta", "low", "high")},
    }
