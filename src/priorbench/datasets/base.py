"""What a dataset source is: a class with options, parts that are acquired one job each, and a conversion.

Building the DAG imports these modules to ask for the parts: import heavy libraries inside the methods.
"""

from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from priorbench.config import Strict
from priorbench.frames import NEITHER, Frames


class Expected(NamedTuple):
    """Structures of the same number of atoms that a source will give, known before anything is read."""

    structures: int
    atoms: int  # of each; their mean where only that is known
    official: int = NEITHER  # the side that the source assigns
    groups: int | None = None  # of equal size that they are in; None: each is taken for one of its own
    periodic: bool = True


class Source(Protocol):
    """A registered dataset source, made from its validated options."""

    Options: ClassVar[type[Strict]]

    def __init__(self, options: Strict) -> None: ...

    def parts(self) -> list[str]:
        """Names (fit for file names) of the parts that are generated or fetched by one job each."""
        ...

    def acquire(self, part: str, mirror: Path | None, output: Path) -> None:
        """Generate or fetch ``part`` and write it atomically to ``output`` (.npz, the source's own units)."""
        ...

    # A source whose parts do not depend on every option has ``options_of(part) -> Strict``, the options with those that
    # do not matter to ``part`` at a fixed value: when one of them changes, the part is not acquired again.
    # A source that reads a user's own files also has ``files() -> list[Path]``, so that they are watched; one that
    # simulates has ``draw_checks(parts, stem)``, which shows that what it made is in equilibrium.  One whose sizes
    # follow from its options has ``expected() -> list[Expected] | None``, by which ``priorbench plan`` tells what an
    # experiment will cost; None, or no such method: unknown until it is read.

    def convert(self, parts: dict[str, Path]) -> Frames:
        """Read all acquired parts into frames (Å, eV, eV/Å, groups, molecules); forces are never changed."""
        ...
