"""Which trials were chosen by validation, as ``trials.csv`` says, for those who test them again."""

import re
from pathlib import Path
from typing import NamedTuple

from priorbench.errors import PriorbenchError
from priorbench.io import read_rows

MEND = "run `priorbench collect` again"
WHOLE = re.compile(r"[0-9]{1,18}")


class Trial(NamedTuple):
    """What tells a trial of a finetuned run from all others."""

    dataset: str
    backbone: str
    strategy: str
    seed: int
    trial: int


def load_chosen(trials_csv: Path) -> set[Trial]:
    """The chosen trials of all finetuned runs: one of each dataset, backbone, strategy and seed.

    Raises :class:`PriorbenchError` for a table that is no such one.
    """
    columns, rows = read_rows(trials_csv, MEND)
    if missing := sorted({*Trial._fields, "chosen"} - set(columns)):
        raise PriorbenchError(f"{trials_csv}: no column {missing[0]!r}; {MEND}")
    trials: dict[Trial, str] = {}
    for number, row in enumerate(rows, 1):
        if not (WHOLE.fullmatch(row["seed"]) and WHOLE.fullmatch(row["trial"]) and row["chosen"] in ("0", "1")):
            raise PriorbenchError(f"{trials_csv}: row {number}: seed, trial or chosen is no such number; {MEND}")
        key = Trial(row["dataset"], row["backbone"], row["strategy"], int(row["seed"]), int(row["trial"]))
        if key in trials:
            raise PriorbenchError(f"{trials_csv}: row {number} is of the same trial as another; {MEND}")
        trials[key] = row["chosen"]
    chosen = {key for key, taken in trials.items() if taken == "1"}
    if not len(chosen) == len({key[:4] for key in chosen}) == len({key[:4] for key in trials}):
        raise PriorbenchError(f"{trials_csv}: not one trial of every run is chosen; {MEND}")
    return chosen
