"""How long each job may take, from the plan of an experiment: what a cluster is asked for.

``priorbench plan --save`` keeps the seconds that the measured cost model foretells beside the results; the rules ask
for twice as much.  A job that needs still more is cut, saves itself and goes on in its next attempt.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priorbench.errors import PriorbenchError
from priorbench.io import read_json, write_json

if TYPE_CHECKING:
    from priorbench.plan.command import Plan

NAME = "plan.json"
MARGIN = 2.0
LEAST, UNKNOWN, MOST = 20, 480, 1440  # minutes; what takes longer than a day is cut and goes on


def save(made: "Plan", folder: Path) -> Path:
    """Write the seconds of every job of the plan, per seed for trainings, into the ``folder`` of the experiment."""
    runs: dict[str, Any] = {}
    for line in made.lines:
        if line.seconds:
            start = line.starts / line.stage.runs
            longest = max(seconds.total for seconds in line.seconds) + start
            runs["/".join((line.stage.kind, line.stage.dataset, line.stage.backbone, line.stage.name))] = longest
    parts = {f"acquire/{each.dataset}": each.seconds for each in made.data if each.seconds is not None}
    path = folder / NAME
    write_json(path, {"device": made.config.device, "basis": made.prices.basis, "seconds": {**runs, **parts}})
    return path


class Needs:
    """The saved plan of an experiment, or none."""

    def __init__(self, folder: Path) -> None:
        path = folder / NAME
        self.seconds: dict[str, float] = {}
        if path.exists():
            content = read_json(path)
            found = content.get("seconds") if isinstance(content, dict) else None
            if not isinstance(found, dict) or not all(isinstance(v, int | float) for v in found.values()):
                raise PriorbenchError(f"{path}: no plan of priorbench; write it again with `priorbench plan --save`")
            self.seconds = found

    def training(self, stage: str, dataset: str, backbone: str, name: str, seeds: int) -> int:
        """Minutes for a job of ``seeds`` runs one after the other; ``name`` is of a pretraining or a strategy."""
        return self._minutes(f"{stage}/{dataset}/{backbone}/{name}", seeds)

    def part(self, dataset: str) -> int:
        """Minutes for one part of a dataset."""
        return self._minutes(f"acquire/{dataset}", 1)

    def _minutes(self, key: str, times: int) -> int:
        seconds = self.seconds.get(key)
        minutes = UNKNOWN * times if seconds is None else max(LEAST, math.ceil(MARGIN * seconds * times / 60))
        return min(minutes, MOST)
