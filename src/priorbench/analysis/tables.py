"""The table of errors: ``rmse.csv`` (numbers), ``rmse.md`` (what ``make run`` prints) and ``rmse.tex`` (booktabs).

Rows: dataset × backbone × strategy, and the trivial predictor (zero force, mean energy).  Errors on the test split,
forces in meV/Å, energies in meV/atom.  Everything but the last column, seconds, is the same on every execution.
"""

from collections.abc import Mapping
from pathlib import Path

from priorbench.analysis.evidence import Weight, recipe_share, weigh
from priorbench.analysis.intervals import Estimate
from priorbench.analysis.records import QUANTITIES, load_runs
from priorbench.analysis.results import TABLE_ROLES, Comparison, Statistics, StrategyResult, load_statistics
from priorbench.analysis.text import MISSING, change, latex_table, markdown_table, number, p_value, with_interval
from priorbench.io import write_rows, write_text

TRIVIAL = "trivial"
MARK = "†"

_HEADER = [
    "dataset",
    "backbone",
    "strategy",
    "force RMSE meV/Å",
    "force MAE meV/Å",
    "energy RMSE meV/atom",
    "energy MAE meV/atom",
    "Δ scratch %",
    "p scratch",
    "Δ longer %",
    "p longer",
    "seeds",
    "diverged",
    "TFLOP",
    "seconds",
]
_COLUMNS = "lll" + "r" * 12
#: Where a strategy was tuned: how many trials it had, and what all of them cost together.
_TUNING = ["trials", "TFLOP tuning"]
_TUNED = (
    " Of the trials of a strategy each seed kept that with the lowest validation force RMSE; tuning: all of them, each "
    "pretraining counted once, mean over seeds."
)


def tables(runs_csv: Path, statistics_json: Path, evidence: Mapping[str, int], output_dir: Path) -> None:
    """Write ``rmse.csv``, ``rmse.md`` and ``rmse.tex`` into ``output_dir``.

    ``evidence`` is the floor (``structure_steps``, ``seeds``) that the caption holds the experiment against.
    """
    runs, statistics = load_runs(runs_csv), load_statistics(statistics_json)
    caption = _caption(weigh(runs, evidence), recipe_share(runs))
    tuned = any(result.trials > 1 for result in statistics.strategies)
    header, columns = (_HEADER + _TUNING, _COLUMNS + "rr") if tuned else (_HEADER, _COLUMNS)
    caption = caption + (_TUNED if tuned else "")
    rows = _text_rows(statistics, tuned)
    write_rows(output_dir / "rmse.csv", _csv_rows(statistics))
    write_text(output_dir / "rmse.md", markdown_table(header, rows, columns) + f"\n{caption}\n")
    write_text(output_dir / "rmse.tex", latex_table(header, rows, caption, columns))


def _caption(weight: Weight, share: str) -> str:
    return (
        "Test errors: geometric mean [95 % interval] over seeds. Δ: change of force RMSE against scratch and against "
        "the longer run of as many steps, paired by seed. p: two-sided t-test of no change, Holm-corrected over all "
        "comparisons of the column. TFLOP: counted, pretraining included, as are the seconds. "
        f"{MARK}: not below the trivial predictor for at least one seed. {share} {weight.describe()}"
    )


def reference_comparison(statistics: Statistics, result: StrategyResult, role: str, quantity: str) -> Comparison | None:
    """The comparison of a strategy with its reference of that role (the matched one); None for a baseline."""
    for c in statistics.comparisons:
        own = (c.dataset, c.backbone, c.strategy) == (*result.place, result.strategy)
        if own and c.reference_role == role and c.matched and c.quantity == quantity:
            return c
    return None


def _text_rows(statistics: Statistics, tuned: bool) -> list[list[str]]:
    rows = []
    for place in statistics.places:
        results = statistics.of(*place)
        trivial = trivial_errors(results)
        missing = [MISSING] * (8 + len(_TUNING) * tuned)
        rows.append([*place, TRIVIAL, *(number(trivial[q]) for q in QUANTITIES), *missing])
        for result in results:
            tuning = [str(result.trials), number(result.tuning_flops / 1e12)] if tuned else []
            rows.append([*_text_row(statistics, result), *tuning])
    return rows


def _text_row(statistics: Statistics, result: StrategyResult) -> list[str]:
    found = [reference_comparison(statistics, result, role, "force") for role in TABLE_ROLES]
    changes = [(MISSING, MISSING) if c is None else (change(c.change), p_value(c.change.p_holm)) for c in found]
    return [
        *(*result.place, result.strategy),
        *(marked(result, quantity) for quantity in QUANTITIES),
        *(cell for cells in changes for cell in cells),
        *(str(len(result.seeds)), str(len(result.diverged))),
        number(result.flops / 1e12),
        number(result.seconds.mean),
    ]


def marked(result: StrategyResult, quantity: str) -> str:
    """An error with its interval, and the mark of one not below the trivial predictor's."""
    return with_interval(result.errors[quantity]) + (MARK if result.worse_than_trivial[quantity] else "")


def trivial_errors(results: list[StrategyResult]) -> dict[str, float | None]:
    """The trivial predictor's errors: the same test frames for all strategies, so the first that has them."""
    return {q: next((r.trivial[q] for r in results if r.trivial[q] is not None), None) for q in QUANTITIES}


def _csv_rows(statistics: Statistics) -> list[dict[str, object]]:
    rows = []
    for place in statistics.places:
        results = statistics.of(*place)
        seeds = len(results[0].seeds)
        errors = {q: Estimate(mean, None, None, None, []) for q, mean in trivial_errors(results).items()}
        nothing = Estimate(None, None, None, None, [])
        key: dict[str, object] = dict(zip(("dataset", "backbone"), place, strict=True))
        rows.append({**key, **_csv_row(TRIVIAL, TRIVIAL, errors, {}, [None, None], (seeds, 0, None), nothing)})
        for r in results:
            found = [reference_comparison(statistics, r, role, "force") for role in TABLE_ROLES]
            counts = (len(r.seeds), len(r.diverged), r.flops)
            row = _csv_row(r.strategy, r.role, r.errors, r.worse_than_trivial, found, counts, r.seconds)
            rows.append({**key, **row})
    return rows


def _csv_row(
    strategy: str,
    role: str,
    errors: Mapping[str, Estimate],
    worse: Mapping[str, int],
    comparisons: list[Comparison | None],
    counts: tuple[int, int, float | None],
    seconds: Estimate,
) -> dict[str, object]:
    """Columns ``<quantity>_<unit>``, ``_low``, ``_high``; ``counts`` are seeds, diverged, FLOPs."""
    row: dict[str, object] = {"strategy": strategy, "role": role}
    for quantity in QUANTITIES:
        unit = "mev_per_angstrom" if quantity.startswith("force") else "mev_per_atom"
        e = errors[quantity]
        row.update({f"{quantity}_{unit}": e.mean, f"{quantity}_low": e.low, f"{quantity}_high": e.high})
        row.update({f"{quantity}_spread": e.spread, f"{quantity}_seeds_worse_than_trivial": worse.get(quantity, 0)})
    for role, comparison in zip(TABLE_ROLES, comparisons, strict=True):
        row.update(_csv_change(role.replace("-", "_"), comparison))
    row.update(dict(zip(("seeds", "diverged", "total_flops"), counts, strict=True)))
    return {**row, "total_seconds": seconds.mean}


def _csv_change(name: str, c: Comparison | None) -> dict[str, object]:
    """Δ as a fraction with its interval, the verdict, p-values as they are and corrected, and what they say."""
    names = ("delta", "low", "high", "verdict", "p", "p_holm", "survives", "equivalent")
    values: dict[str, object] = {key: None if c is None else getattr(c.change, key) for key in names}
    inside = None if c is None else c.within
    return {
        **{f"delta_{name}": values["delta"], f"delta_{name}_low": values["low"], f"delta_{name}_high": values["high"]},
        **{f"{key}_{name}": values[key] for key in names[3:]},
        f"within_se_{name}": inside and inside.pooled_se,
        f"within_share_{name}": inside and inside.share,
    }
