"""How much an experiment weighs: its floor of evidence, and its share of the paper's recipe."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from priorbench.errors import PriorbenchError

SMOKE = "smoke test, not evidence"
HEADLINE_SEEDS = 5

#: The released recipe for TIP3P water: epochs of pretraining and finetuning, batch size, training structures.
PAPER_PRETRAIN_EPOCHS, PAPER_FINETUNE_EPOCHS, PAPER_BATCH, PAPER_STRUCTURES = 25, 300, 16, 8000
PAPER_STRUCTURE_STEPS = PAPER_FINETUNE_EPOCHS * PAPER_STRUCTURES


@dataclass(frozen=True)
class Weight:
    """What was done, against the floor: structures visited by the shortest completed finetuning, and seeds."""

    structure_steps: int
    seeds: int
    floor_structure_steps: int
    floor_seeds: int

    @property
    def shortfalls(self) -> list[str]:
        """What falls short of the floor, in words."""
        found = []
        if self.structure_steps < self.floor_structure_steps:
            found.append(
                f"{self.structure_steps:,} structure-steps of finetuning, floor {self.floor_structure_steps:,}"
            )
        if self.seeds < self.floor_seeds:
            found.append(f"{self.seeds} seeds, floor {self.floor_seeds}")
        return found

    @property
    def label(self) -> str | None:
        """What stands beside every verdict of an experiment below the floor."""
        return SMOKE if self.shortfalls else None

    def describe(self) -> str:
        """One sentence with the numbers."""
        if self.shortfalls:
            return f"This is a {SMOKE}: {'; '.join(self.shortfalls)}."
        return (
            f"Above the evidence floor: {self.structure_steps:,} structure-steps of finetuning, {self.seeds} seeds."
            + (f" A headline needs {HEADLINE_SEEDS} seeds." if self.seeds < HEADLINE_SEEDS else "")
        )


def weigh(runs: pd.DataFrame, evidence: Mapping[str, int]) -> Weight:
    """Hold the finetuned runs against the floor ``{"structure_steps": …, "seeds": …}``."""
    missing = [key for key in ("structure_steps", "seeds") if key not in evidence]
    if missing:
        raise PriorbenchError(f"evidence: no key {missing[0]!r}; give structure_steps and seeds")
    finetuned = _finetuned(runs)
    seeds = finetuned.groupby(["dataset", "backbone"])["seed"].nunique().min()
    return Weight(
        int(finetuned["structure_steps"].min()), int(seeds), int(evidence["structure_steps"]), int(evidence["seeds"])
    )


def recipe_share(runs: pd.DataFrame) -> str:
    """The recipe beside the paper's, in words; only the plain scratch runs count for epochs and batches."""
    finetuned = _finetuned(runs)
    scratch = finetuned[finetuned["role"] == "scratch"] if (finetuned["role"] == "scratch").any() else finetuned
    pretrain = runs[runs["stage"] == "pretrain"]
    least = int(finetuned["structure_steps"].min())
    return (
        f"Epochs of pretraining + finetuning: {_range(pretrain['epochs'])} + {_range(scratch['epochs'])} "
        f"(paper: {PAPER_PRETRAIN_EPOCHS} + {PAPER_FINETUNE_EPOCHS}); batch {_range(scratch['batch_size'])} "
        f"(paper: {PAPER_BATCH}); {_range(scratch['train_structures'])} training structures "
        f"(paper, TIP3P: {PAPER_STRUCTURES}); {least:,} structure-steps of finetuning, "
        f"{100 * least / PAPER_STRUCTURE_STEPS:.2g} % of the paper's {PAPER_STRUCTURE_STEPS:,} on TIP3P."
    )


def _finetuned(runs: pd.DataFrame) -> pd.DataFrame:
    """The completed finetuning runs, or all of them where none completed."""
    finetuned = runs[runs["stage"] == "finetune"]
    done = finetuned[finetuned["status"] == "completed"]
    return done if len(done) else finetuned


def _range(values: "pd.Series[int]") -> str:
    """``60``, ``40–60``, or a dash for nothing."""
    if values.empty:
        return "–"
    low, high = int(values.min()), int(values.max())
    return f"{low}" if low == high else f"{low}–{high}"
