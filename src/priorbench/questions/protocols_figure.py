"""The figure of the protocols: errors and gains of every strategy under both, and what single differences do."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from priorbench.analysis.results import QUANTITY_NAMES, Quantity
from priorbench.analysis.style import colour
from priorbench.questions.across import of_name
from priorbench.questions.compare import change, unique
from priorbench.questions.draw import Mark, change_mark, error_mark
from priorbench.questions.experiment import Experiment, Member, Place
from priorbench.questions.forest import Block, Heading, Line, forest_figure

_CAPTION = (
    "Filled: fair protocol, hollow: released. Mean, 95 % interval, seeds as small dots; changes are paired by seed. "
    "Grey ground: changes too small to count (±3 %)."
)
_BETWEEN = " One difference at a time: error of scratch, and masking's change against it."

#: Title, the fair entry, the released one, and those in between.
Drawn = tuple[str, Place, Place, Sequence[Place]]


def protocols_figure(experiment: Experiment, drawn: Sequence[Drawn]) -> Figure:
    """A block of strategies for each dataset and architecture, and one of single differences where there are any."""
    blocks, caption = [], _CAPTION
    for title, fair, released, between in drawn:
        names = unique(member.name for place in (fair, released) for member in experiment.at(place))
        blocks.append(Block(title, [_strategy(experiment, name, fair, released) for name in names]))
        if between:
            caption = _CAPTION + _BETWEEN
            lines = [_difference(experiment, place) for place in (fair, *between)]
            blocks.append(Block(f"{title}: one difference at a time", lines))
    headings = [Heading("test force RMSE / (meV/Å)", change=False)]
    headings += [Heading(f"Δ {q} RMSE vs scratch / %") for q in QUANTITY_NAMES]
    return forest_figure(blocks, headings, caption)


def _strategy(experiment: Experiment, name: str, fair: Place, released: Place) -> Line:
    members = [of_name(experiment, place, name) for place in (fair, released)]
    filled, hollow = (_marks(experiment, member, member) for member in members)
    result = next(member.result for member in members if member is not None)
    return Line(name, colour(result.role, result.task), filled, hollow)


def _difference(experiment: Experiment, place: Place) -> Line:
    """One entry: scratch's error, and the change that masking makes."""
    return Line(
        place[1], colour("scratch", None), _marks(experiment, experiment.scratch(place), experiment.mask(place))
    )


def _marks(experiment: Experiment, error_of: Member | None, change_of: Member | None) -> list[Mark | None]:
    error = error_mark(error_of.result.errors["force_rmse"]) if error_of is not None else None
    return [error, *(_change(experiment, change_of, q) for q in QUANTITY_NAMES)]


def _change(experiment: Experiment, member: Member | None, quantity: Quantity) -> Mark | None:
    if member is None or member.result.role == "scratch":
        return None
    base = experiment.scratch(member.place)
    return None if base is None else change_mark(change(member, base, quantity), member, base, quantity)
