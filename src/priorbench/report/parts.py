"""What a report is made from: the tables of an experiment, or of every question that a folder holds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from priorbench.analysis.evidence import Weight, recipe_share
from priorbench.analysis.records import load_curves, load_runs, read_table
from priorbench.analysis.results import Statistics, StrategyResult, load_answer, load_claims, load_statistics
from priorbench.errors import PriorbenchError


@dataclass(frozen=True, eq=False)
class Part:
    """The tables in one folder; ``name`` tells several of a report apart and is empty where there is one alone."""

    name: str
    folder: Path
    runs: pd.DataFrame
    curves: pd.DataFrame
    statistics: Statistics
    claims: dict[str, Any] | None
    answer: dict[str, Any] | None

    def label(self, dataset: str, backbone: str) -> str:
        """A place in words."""
        return ", ".join(word for word in (self.name, backbone, dataset) if word)

    def table(self, name: str) -> pd.DataFrame | None:
        """A table that may not be there, as it stands; None where it is not or has no row."""
        path = self.folder / name
        if not path.is_file():
            return None
        # Numbers would turn keys such as "0" and names such as "1e3" into something else.
        texts = dict.fromkeys(("dataset", "backbone", "strategy", "kind", "key", "quantity"), "object")
        frame = read_table(path, "collect it again", dtype=texts, keep_default_na=False, na_values=["", "nan"])
        return frame if len(frame) else None

    @property
    def recipe(self) -> str:
        """The recipe beside the paper's, in words."""
        return recipe_share(self.runs)

    @property
    def evidence(self) -> str:
        """Whether the experiment is above the floor of evidence, in words; nothing where no verdict was made."""
        judged = self.claims or self.answer
        if judged is None:
            return ""
        return Weight(**{key: value for key, value in judged["evidence"].items() if key != "label"}).describe()


def load_parts(folder: Path) -> list[Part]:
    """The experiment in ``folder``, or, where it has no table of runs, those of the questions in its sub-folders."""
    if (folder / "runs.csv").is_file():
        return [_load("", folder)]
    found = sorted(path.parent for path in folder.glob("*/runs.csv"))
    if not found:
        raise PriorbenchError(f"{folder}: no runs.csv there or in a folder in it; run the experiment to its end first")
    return [_load(path.name, path) for path in found]


def columns(table: pd.DataFrame, path: Path, names: tuple[str, ...]) -> pd.DataFrame:
    """The table, if it has all these columns.

    Raises:
        PriorbenchError: it has not.
    """
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise PriorbenchError(f"{path}: no column {missing[0]!r}; it was made by another version, collect it again")
    return table


def diverged(result: StrategyResult) -> str:
    """How many seeds of a strategy diverged, in words; nothing where none did."""
    return f"{len(result.diverged)} of {len(result.seeds)} diverged" if result.diverged else ""


def _load(name: str, folder: Path) -> Part:
    tables = load_runs(folder / "runs.csv"), load_curves(folder / "curves.csv")
    judged = load_claims(folder), load_answer(folder)
    return Part(name, folder, *tables, load_statistics(folder / "statistics.json"), *judged)
