"""priorbench: a reproducible benchmark of pretraining strategies for neural potentials."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from priorbench.potential.calculator import load_potential as load_potential

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``load_potential``, which imports torch only when it is asked for."""
    if name == "load_potential":
        from priorbench.potential.calculator import load_potential

        return load_potential
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
