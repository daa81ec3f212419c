"""What labels are: energies and forces of another method for structures that a dataset already has.

Validating a configuration imports these modules: import heavy libraries inside the methods.
"""

from typing import ClassVar, Protocol

from priorbench.config import Strict
from priorbench.frames import Frames


class Labeller(Protocol):
    """A registered method, made from its validated options."""

    Options: ClassVar[type[Strict]]

    def __init__(self, options: Strict) -> None: ...

    def label(self, frames: Frames) -> Frames:
        """The same structures with energies (S,) eV and forces (A, 3) eV/Å of this method.

        ``metadata["unlabelled"]`` are the structures that it does not describe, ascending; their labels are zeros.
        Where it describes none, :class:`PriorbenchError` is raised.
        """
        ...
