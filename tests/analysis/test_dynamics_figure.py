"""The figure of dynamics: every strategy in its colour, what broke as a cross, from the two tables alone."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from priorbench.analysis.dynamics_figure import draw_dynamics, dynamics_figure
from priorbench.analysis.records import load_runs
from priorbench.analysis.results import load_statistics
from priorbench.analysis.style import RC, colour
from priorbench.io import write_json
from priorbench.potential.dynamics_table import collect_dynamics

R = np.linspace(0.1, 6, 20)


def records(experiment, folder: Path, **nvt) -> list[Path]:
    """What dynamics would leave of every completed run."""
    runs = load_runs(experiment.runs_csv)
    runs = runs[runs["stage"] == "finetune"].drop_duplicates(["dataset", "backbone", "strategy", "seed"])
    paths = []
    for k, run in enumerate(runs.itertuples()):
        g = np.exp(-((R - 2.8) ** 2)).tolist()
        found = {"ps": 1.0 + k % 3, "asked_ps": 5.0, "broken": None, "temperature_K": 300.0, "frames": 4}
        found |= {"r": R.tolist(), "periodic": True, "rdf_error_O-O": 0.1 + k % 3, "rdf_error_H-H": 9.0}
        found |= {"distributions": {"H-H": g, "O-O": g}, "reference": {"H-H": g, "O-O": g}, **nvt}
        nve = {"ps": 1.0, "broken": None, "drift_mev_per_atom_per_ps": -0.01 * (1 + k % 3)}
        own = {"dataset": run.dataset, "backbone": run.backbone, "strategy": run.strategy, "seed": run.seed}
        record = {**own, "status": "completed", "conservative": True, "rigid": False, "atoms": 24}
        if run.status == "diverged":
            record = {**own, "status": "diverged"}
        paths.append(folder / f"{k}.json")
        write_json(paths[-1], {**record, **({} if run.status == "diverged" else {"nve": nve, "nvt": found})})
    return paths


@pytest.fixture
def tables(analysed, tmp_path):
    table, distributions = tmp_path / "dynamics.csv", tmp_path / "distributions.csv"
    collect_dynamics(records(analysed, tmp_path), table, distributions)
    return table, distributions


def drawn(experiment, table: pd.DataFrame, distributions: pd.DataFrame):
    with mpl.rc_context(RC):
        figure = dynamics_figure(table, distributions, load_statistics(experiment.statistics_json))
        figure.canvas.draw()
    return figure


def test_a_row_a_place_and_the_heaviest_pair(analysed, tables):
    statistics = load_statistics(analysed.statistics_json)
    figure = drawn(analysed, *map(pd.read_csv, tables))
    assert len(figure.axes) == 4 * len(statistics.places)
    for first, place in zip(figure.axes[::4], statistics.places, strict=True):
        assert first.get_title(loc="left") == f"{place[1]}, {place[0]}"
        assert first.get_ylabel() == "g(r), O–O"
        assert {to_hex(line.get_color()) for line in first.lines} == {
            to_hex(colour(r.role, r.task)) for r in statistics.of(*place) if set(r.seeds) - set(r.diverged)
        }
        assert "O–O" in figure.axes[figure.axes.index(first) + 2].get_xlabel()


def test_a_run_without_dynamics_is_a_cross(analysed, tables):
    table, distributions = map(pd.read_csv, tables)
    before = _crosses(drawn(analysed, table, distributions))
    first = table.index[table["status"] == "completed"][0]
    table.loc[first, ["stability_ps", "rdf_error_O-O", "drift_mev_per_atom_per_ps"]] = np.nan
    assert _crosses(drawn(analysed, table, distributions)) == before + 3


def _crosses(figure) -> int:
    return sum(len(line.get_xdata()) for axes in figure.axes for line in axes.lines if line.get_marker() == "x")


def test_the_files_are_written(analysed, tables, tmp_path):
    draw_dynamics(*tables, analysed.statistics_json, tmp_path)
    for suffix in ("pdf", "png"):
        assert (tmp_path / f"dynamics.{suffix}").stat().st_size > 1000


def test_trials_not_chosen_are_in_no_table(analysed, tmp_path):
    paths = records(analysed, tmp_path)
    write_json(paths[0], {"dataset": "d", "backbone": "b", "strategy": "s", "seed": 0, "status": "not chosen"})
    collect_dynamics(paths, tmp_path / "dynamics.csv", tmp_path / "distributions.csv")
    assert len(pd.read_csv(tmp_path / "dynamics.csv")) == len(paths) - 1
