"""How much memory hidden values may take until the backward pass; beyond it they are computed a second time."""

from functools import cache

from priorbench.memory import available_memory

SHARE = 0.65  # of what is free; what atoms have and the holes of the heap take some as well


@cache
def room() -> float:
    """Bytes: a share of the memory that was free when this process first asked, as its own counts as taken later."""
    return SHARE * 1e9 * available_memory()
