"""Uncertainty within a seed: a paired block bootstrap over the groups of its test structures.

A group is a block of a trajectory longer than the autocorrelation time of its forces (or a cluster of near-duplicates),
so groups are as good as independent where structures are not.  Of each seed's G test groups, G are drawn with
replacement ``REPLICATES`` times, the same ones for both strategies, and the log of the ratio of the pooled RMSEs is
taken each time; its standard deviation is the standard error that the choice of test structures leaves for the networks
as they are.  A seed with fewer than ``LEAST_GROUPS`` groups has none.

The *share* is the mean of these variances over the seeds, over the variance of the paired log differences between
seeds.  Where every seed draws its own test structures the latter holds the former: a share near 1 says that the seeds
differ because their test structures do, and that larger test sets would narrow the interval; a share near 0, that
training does.  Where all seeds share their test structures (official sides) it does not hold it, and the interval over
seeds does not cover their choice.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError

REPLICATES = 2000
LEAST_GROUPS = 5
_STREAM = 7_919  # of random numbers; with the seed and the number of groups it fixes the draws

Key = tuple[str, str, str, int]  # dataset, backbone, strategy, seed
#: Of every run, by test group: number of structures, and the sums of squares that pooled RMSEs are made of.
Sums = Mapping[Key, pd.DataFrame]
_KEY = ["dataset", "backbone", "strategy", "seed"]


@dataclass(frozen=True)
class Within:
    """Standard errors of the log of a ratio of test RMSEs, by seed (of the completed pairs) and pooled.

    ``groups`` are the numbers of test groups; ``per_seed`` is None where they are too few; ``pooled_se`` is the root of
    the mean variance and ``share`` that variance over the one between seeds, each None where it cannot be estimated.
    """

    groups: list[int]
    per_seed: list[float | None]
    pooled_se: float | None
    share: float | None


def group_sums(structures: pd.DataFrame) -> dict[Key, pd.DataFrame]:
    """Sums over the structures of every run and group: ``force`` weighs each by its atoms where all say how many."""
    atoms = structures["atoms"] if structures["atoms"].notna().all() else 1.0
    table = structures[[*_KEY, "group"]].assign(
        structures=1, force=atoms * structures["force_rmse"] ** 2, energy=structures["energy_error"] ** 2
    )
    summed = table.groupby([*_KEY, "group"], sort=True, as_index=False).sum()
    return {
        (str(d), str(b), str(s), int(str(seed))): own.drop(columns=_KEY).set_index("group")
        for (d, b, s, seed), own in summed.groupby(_KEY, sort=False)
    }


def within(
    sums: Sums, place: tuple[str, str], pair: tuple[str, str], quantity: str, logs: Mapping[int, float]
) -> Within:
    """Bootstrap the comparison of a ``pair`` of strategies; ``logs`` are its paired log differences by seed.

    Raises:
        PriorbenchError: the two were tested on different structures.
    """
    groups: list[int] = []
    errors: list[float | None] = []
    for seed in logs:
        own, other = (_of(sums, (*place, strategy, seed)) for strategy in pair)
        if not own["structures"].equals(other["structures"]):
            raise PriorbenchError(f"seed {seed} was tested on different structures; evaluate and collect again")
        groups.append(len(own))
        errors.append(log_ratio_error(own[quantity].to_numpy(), other[quantity].to_numpy(), seed))
    known = [error**2 for error in errors if error is not None]
    between = float(np.var(list(logs.values()), ddof=1)) if len(logs) > 1 else 0.0
    variance = float(np.mean(known)) if known else None
    return Within(
        groups,
        errors,
        None if variance is None else math.sqrt(variance),
        None if variance is None or between == 0 else variance / between,
    )


def log_ratio_error(own: NDArray[np.float64], other: NDArray[np.float64], seed: int) -> float | None:
    """Bootstrap standard error of ½ log(Σ own / Σ other), sums of squares by group; None of too few groups."""
    if len(own) < LEAST_GROUPS:
        return None
    drawn = _draws(seed, len(own)) @ np.column_stack([own, other]).astype(np.float64)
    return float(np.std(0.5 * np.log(drawn[:, 0] / drawn[:, 1]), ddof=1))


@lru_cache(maxsize=16)
def _draws(seed: int, groups: int) -> NDArray[np.uint16]:
    """How often each group is drawn, (REPLICATES, groups)."""
    generator = np.random.default_rng([_STREAM, seed])
    return generator.multinomial(groups, np.full(groups, 1 / groups), size=REPLICATES).astype(np.uint16)


def _of(sums: Sums, key: Key) -> pd.DataFrame:
    nothing = pd.DataFrame({"structures": [], "force": [], "energy": []})
    return sums.get(key, nothing)
