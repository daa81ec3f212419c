"""What backbone entries of one architecture tell together: a gain at one value of what they differ in, and at another.

An experiment that scans something of finetuning itself (labelled structures, the scale of the labels, the protocol)
has an entry under ``backbones`` for each value.  Entries share a dataset, an architecture and the seeds, so a gain at
one value can be paired with that at another.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from priorbench.analysis.intervals import Paired
from priorbench.analysis.results import Quantity
from priorbench.questions.compare import paired_errors, ratios
from priorbench.questions.experiment import Experiment, Member, Place


@dataclass(frozen=True)
class Group:
    """The places of one dataset and architecture by what they differ in, ascending."""

    dataset: str
    architecture: str
    places: dict[Any, Place]

    @property
    def ends(self) -> tuple[Any, Any]:
        """The least and the largest value."""
        values = list(self.places)
        return values[0], values[-1]

    @property
    def title(self) -> str:
        """For a panel."""
        return f"{self.architecture}, {self.dataset}"


def groups(experiment: Experiment, value: Callable[[Member], Hashable | None], least: int = 2) -> list[Group]:
    """Entries with at least so many values of what ``value`` reads from their scratch; of equal ones the first."""
    found: dict[tuple[str, str], dict[Any, Place]] = {}
    for place in experiment.places:
        scratch = experiment.scratch(place)
        key = None if scratch is None else value(scratch)
        if scratch is not None and key is not None:
            found.setdefault((place[0], scratch.result.architecture), {}).setdefault(key, place)
    ordered = {key: dict(sorted(places.items())) for key, places in found.items()}
    return [Group(*key, places) for key, places in ordered.items() if len(places) >= least]


def of_name(experiment: Experiment, place: Place, name: str) -> Member | None:
    """The strategy called ``name`` at a place."""
    return next((member for member in experiment.at(place) if member.name == name), None)


def gain_change(
    experiment: Experiment, name: str, here: Place, there: Place, quantity: Quantity = "force"
) -> Paired | None:
    """How the ratio of a strategy's error to scratch's changes from ``there`` to ``here``, paired by seed.

    −0.1 means that the strategy's error over scratch's is 10 % less here.  None where it was not run at both.
    """
    pairs = [(of_name(experiment, place, name), experiment.scratch(place)) for place in (here, there)]
    found = [
        ratios(own.errors(quantity), base.errors(quantity))
        for own, base in pairs
        if own is not None and base is not None
    ]
    if len(found) < 2:
        return None
    return paired_errors(found[0], found[1], f"{name} in {'/'.join(here)} and {'/'.join(there)}")
