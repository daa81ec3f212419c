"""What the questions read: the strategies of an experiment with their errors, and what each was set to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from priorbench.analysis.intervals import estimate
from priorbench.analysis.records import load_curves, load_runs, load_structures, read_table
from priorbench.analysis.results import Quantity, Statistics, StrategyResult, load_statistics
from priorbench.errors import PriorbenchError
from priorbench.evaluation.probe_table import COLUMNS as PROBE_COLUMNS

Settings = Mapping[str, Any]
Place = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Member:
    """One strategy on one dataset and backbone.

    ``runs`` are its finetuned runs, ``pretrainings`` those that they started from; ``settings`` and ``pretrained`` are
    the options that all of either share, by name.  A trial chosen anew for every seed has no single value of what was
    tuned, so that name is absent.
    """

    result: StrategyResult
    runs: pd.DataFrame
    pretrainings: pd.DataFrame
    settings: Settings = field(default_factory=dict)
    pretrained: Settings = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the strategy."""
        return self.result.strategy

    @property
    def place(self) -> Place:
        """Dataset and backbone."""
        return self.result.place

    @property
    def whole(self) -> bool:
        """Whether all weights of a pretraining were carried over, heads included."""
        return self.result.pretraining is not None and self.settings.get("transfer", "all") == "all"

    @property
    def elsewhere(self) -> str | None:
        """The dataset that it was pretrained on, if not its own."""
        other = self.result.pretraining_dataset
        return other if self.result.pretraining is not None and other != self.result.dataset else None

    def errors(self, quantity: Quantity) -> dict[int, float | None]:
        """Test RMSE by seed, meV/Å or meV/atom; None for a diverged run."""
        return self._by_seed[f"test_{quantity}_rmse"]

    def budget(self, unit: str) -> float:
        """Optimiser ``steps`` or counted ``flops``, pretraining included, mean over the seeds."""
        return self.result.steps if unit == "steps" else self.result.flops

    @property
    def validation(self) -> float:
        """Geometric mean of the validation force RMSE, meV/Å; infinite where every run diverged."""
        mean = estimate([value for value in self._by_seed["val_force_rmse"].values() if value is not None]).mean
        return float("inf") if mean is None else mean

    @property
    def train_structures(self) -> int:
        """Labelled structures that finetuning learned from."""
        return int(self.runs["train_structures"].max())

    @property
    def protocol(self) -> str | None:
        """``fair`` or ``released``; None in records older than protocols."""
        value = self.runs["protocol"].iloc[0]
        return None if value is None else str(value)

    @cached_property
    def _by_seed(self) -> dict[str, dict[int, float | None]]:
        rows = self.runs.sort_values("seed")
        done = rows["status"] == "completed"
        return {
            column: {
                int(s): float(v) if ok else None for s, v, ok in zip(rows["seed"], rows[column], done, strict=True)
            }
            for column in ("test_force_rmse", "test_energy_rmse", "val_force_rmse")
        }


@dataclass(frozen=True, eq=False)
class Experiment:
    """The tables of an experiment; ``probes`` and ``structures`` are None where they were not given."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    statistics: Statistics
    probes: pd.DataFrame | None = None
    structures: pd.DataFrame | None = None

    @cached_property
    def members(self) -> list[Member]:
        """Every strategy everywhere: by place, scratch first, then longer ones, then pretrained ones."""
        return [_member(result, self.runs) for result in self.statistics.strategies]

    @property
    def places(self) -> list[Place]:
        """Every dataset and backbone."""
        return self.statistics.places

    def at(self, place: Place) -> list[Member]:
        """The strategies of one dataset and backbone."""
        return [member for member in self.members if member.place == place]

    def scratch(self, place: Place) -> Member | None:
        """The plain run from scratch at ``place``."""
        return next((member for member in self.at(place) if member.result.role == "scratch"), None)

    def longer(self, member: Member, role: str) -> Member | None:
        """Of the longer runs of a role (longer-steps, longer-compute) the one nearest in budget to ``member``."""
        unit = "steps" if role == "longer-steps" else "flops"
        found = [other for other in self.at(member.place) if other.result.role == role]
        return min(found, key=lambda other: abs(other.budget(unit) - member.budget(unit)), default=None)

    def mask(self, place: Place) -> Member | None:
        """The masking that claims are judged by: pretrained on its own structures, no control and no value of a scan.

        Of several, the first in the order of the experiment.
        """
        return next((m for m in self.at(place) if is_mask(m) and m.elsewhere is None), None)

    def label(self, place: Place) -> str:
        """What tells a place from the others; empty where there is one alone."""
        datasets, backbones = ({p[i] for p in self.places} for i in (0, 1))
        return ", ".join(part for part, many in ((place[1], len(backbones) > 1), (place[0], len(datasets) > 1)) if many)


def is_mask(member: Member) -> bool:
    """Whether it is masking as claims judge it."""
    return member.result.role == "pretrained" and member.result.task == "masking"


def load_experiment(
    runs_csv: Path, curves_csv: Path, statistics_json: Path, probes_csv: Path | None, structures_csv: Path | None
) -> Experiment:
    """Read the tables of an experiment."""
    return Experiment(
        load_runs(runs_csv),
        load_curves(curves_csv),
        load_statistics(statistics_json),
        None if probes_csv is None else load_probes(probes_csv),
        None if structures_csv is None else load_structures(structures_csv),
    )


def load_probes(probes_csv: Path) -> pd.DataFrame:
    """Read ``probes.csv``: R² and similarities by dataset, backbone, seed, stage, strategy and quantity."""
    frame = read_table(probes_csv, "probe again", "run `priorbench probe`")
    if np.isinf(frame.select_dtypes("number")).any(axis=None):
        raise PriorbenchError(f"{probes_csv}: holds a number that is not finite; probe again")
    missing = [name for name in PROBE_COLUMNS if name not in frame.columns and name != "n"]
    if missing:
        raise PriorbenchError(f"{probes_csv}: no column {missing[0]!r}; probe again")
    return frame


def shared_settings(texts: Sequence[str | None]) -> dict[str, Any]:
    """The options with the same value in every one of these JSON texts; nothing of texts that are absent."""
    found = [json.loads(text) if text else {} for text in texts]
    if not found:
        return {}
    return {key: value for key, value in found[0].items() if all(other.get(key) == value for other in found[1:])}


def _member(result: StrategyResult, runs: pd.DataFrame) -> Member:
    here = runs[(runs["backbone"] == result.backbone)]
    own = here[
        (here["dataset"] == result.dataset) & (here["stage"] == "finetune") & (here["strategy"] == result.strategy)
    ]
    wanted = {(d or result.dataset, p, s) for d, p, s in zip(*(own[c] for c in _PARENT), strict=True) if p}
    pretrained = here[here["stage"] == "pretrain"]
    keys = zip(pretrained["dataset"], pretrained["strategy"], pretrained["seed"], strict=True)
    parents = pretrained[pd.Series([key in wanted for key in keys], pretrained.index, dtype=bool)]
    settings, pretrained_settings = (shared_settings(list(table["settings"])) for table in (own, parents))
    return Member(result, own, parents, settings, pretrained_settings)


_PARENT = ("pretraining_dataset", "pretraining", "seed")
