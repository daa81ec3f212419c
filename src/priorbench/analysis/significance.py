"""p-values of paired comparisons, and Holm's correction of them for the number of comparisons made.

Both come from Student's t on the paired differences of logs, as the intervals do
(:mod:`priorbench.analysis.intervals`), so that they say the same: the 95 % interval excludes a value exactly where the
smaller tail beyond it is below 2.5 %.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats


def smaller_tail(values: Sequence[float], at: float) -> float:
    """One-sided p of Student's t-test of the mean of ``values`` against ``at``, on the side where the mean lies.

    At most 0.5; twice this number is the two-sided p.  Needs two values; equal ones leave no doubt.
    """
    n = len(values)
    distance, error = abs(float(np.mean(values)) - at), float(np.std(values, ddof=1)) / math.sqrt(n)
    if error == 0:
        return 0.5 if distance == 0 else 0.0
    return float(stats.t.sf(distance / error, n - 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (Scand. J. Statist. 6, 65, 1979), in the order given.

    Ascending p(1) … p(n) become max over j ≤ i of (n − j + 1) p(j), at most 1.  A comparison without a p-value counts
    in n, as one that shows nothing.
    """
    n = len(p_values)
    found: list[float | None] = [None] * n
    largest = 0.0
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    for rank, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, (n - rank) * p))
        found[i] = largest
    return found
