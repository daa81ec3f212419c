"""The leaderboard: every dataset, backbone and strategy with errors, change against scratch and cost."""

from priorbench.analysis.intervals import Paired
from priorbench.analysis.records import QUANTITIES
from priorbench.analysis.results import Statistics, StrategyResult
from priorbench.analysis.style import colour
from priorbench.analysis.tables import TRIVIAL, marked, reference_comparison, trivial_errors
from priorbench.analysis.text import MISSING, change, number, p_value
from priorbench.report.parts import Part
from priorbench.report.tables import Cell, Row, Table, quantity, text

_NAMES = ["dataset", "backbone", "strategy"]
_NUMBERS = [
    "force RMSE meV/Å",
    "Δ force vs scratch %",
    "p (Holm)",
    "energy RMSE meV/atom",
    "Δ energy vs scratch %",
    "seeds",
    "diverged",
    "TFLOP",
    "seconds",
    "force MAE meV/Å",
    "energy MAE meV/atom",
]
_CAPTION = (
    "Test errors: geometric mean [95 % interval] over seeds. Δ: change of RMSE against scratch, paired by seed. "
    "p: two-sided t-test of no change of the force RMSE, Holm-corrected. TFLOP and seconds: pretraining included. "
    "trivial: zero force, mean energy. †: not below the trivial predictor for at least one seed."
)


def leaderboard(parts: list[Part]) -> Table:
    """One row a strategy, and one a place for the trivial predictor."""
    several = len(parts) > 1
    header = [*(["question"] if several else []), *_NAMES, *_NUMBERS]
    words = len(header) - len(_NUMBERS)
    rows = [row for part in parts for place in part.statistics.places for row in _rows(part, place, several)]
    return Table("leaderboard", _CAPTION, header, rows, [i >= words for i in range(len(header))], words - 1)


def _rows(part: Part, place: tuple[str, str], several: bool) -> list[Row]:
    results = part.statistics.of(*place)
    names = [text(name) for name in (*([part.name] if several else []), *place)]
    tags = dict(zip(("dataset", "backbone"), place, strict=True))
    trivial = trivial_errors(results)
    force, force_mae, energy, energy_mae = (quantity(number(trivial[q]), trivial[q]) for q in QUANTITIES)
    none = Cell(MISSING, kind="number")
    numbers = [force, none, none, energy, *[none] * 5, force_mae, energy_mae]
    own = [Row([*names, *_numbers(part.statistics, r)], tags) for r in results]
    return [*own, Row([*names, text(TRIVIAL), *numbers], tags, "trivial")]


def _numbers(statistics: Statistics, result: StrategyResult) -> list[Cell]:
    force, force_mae, energy, energy_mae = (quantity(marked(result, q), result.errors[q].mean) for q in QUANTITIES)
    forces, energies = (_change(statistics, result, q) for q in ("force", "energy"))
    lost = len(result.diverged)
    seeds = f"{lost} ({', '.join(map(str, result.diverged))})" if lost else "0"
    return [
        text(result.strategy, colour(result.role, result.task)),
        force,
        _shown(forces),
        quantity(p_value(forces.p_holm), forces.p_holm) if forces else Cell(MISSING, kind="number"),
        energy,
        _shown(energies),
        quantity(str(len(result.seeds)), len(result.seeds)),
        quantity(seeds, lost, "number warning" if lost else "number"),
        quantity(number(result.flops / 1e12), result.flops),
        quantity(number(result.seconds.mean), result.seconds.mean),
        force_mae,
        energy_mae,
    ]


def _change(statistics: Statistics, result: StrategyResult, name: str) -> Paired | None:
    found = reference_comparison(statistics, result, "scratch", name)
    return found.change if found else None


def _shown(paired: Paired | None) -> Cell:
    return Cell(MISSING, kind="number") if paired is None else quantity(change(paired), paired.delta)
