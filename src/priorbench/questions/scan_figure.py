"""The figure of a scan: changes against scratch over what was set, references as bands."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from priorbench.analysis.results import QUANTITY_NAMES, Quantity
from priorbench.analysis.style import colour
from priorbench.questions.compare import Entry, change
from priorbench.questions.draw import change_mark
from priorbench.questions.experiment import Experiment, Member, Place
from priorbench.questions.lines import Abscissa, Band, Panel, Scale, Series, line_figure

MOST_COLUMNS = 4
CAPTION = (
    "Change of test RMSE against scratch, paired by seed: mean, 95 % interval, seeds as small dots. "
    "Dashed, with interval: {bands}. Grey ground: changes too small to count (±3 %)."
)


def scan_figure(
    experiment: Experiment, entries: Sequence[Entry], axis: str, scale: Scale, rivals: Sequence[Member] = ()
) -> Figure:
    """A row of panels for each quantity, a column for each place; ``rivals`` are bands beside longer-steps.

    More places than fit into a row have rows for each dataset.
    """
    names = list(dict.fromkeys(entry.x for entry in entries))
    places = list(dict.fromkeys(entry.member.place for entry in entries))
    blocks = [places]
    if len(places) > MOST_COLUMNS:
        blocks = [[p for p in places if p[0] == dataset] for dataset in dict.fromkeys(d for d, _ in places)]
    rows = [
        [_panel(experiment, _own(entries, place), names, quantity, rivals) for place in block]
        for block in blocks
        for quantity in QUANTITY_NAMES
    ]
    bands = list(dict.fromkeys(band.label for row in rows for panel in row for band in panel.bands))
    caption = CAPTION.format(bands=" and ".join(bands) or "nothing")
    return line_figure(rows, Abscissa(axis, scale, names), caption)


def _own(entries: Sequence[Entry], place: Place) -> list[Entry]:
    return [entry for entry in entries if entry.member.place == place]


def _panel(
    experiment: Experiment, own: Sequence[Entry], names: Sequence[str], quantity: Quantity, rivals: Sequence[Member]
) -> Panel:
    place = own[0].member.place
    scratch, longer = experiment.scratch(place), experiment.longer(own[0].member, "longer-steps")
    marks = {}
    for entry in own:
        mark = change_mark(entry.change("scratch", quantity), entry.member, scratch, quantity)
        if mark is not None:
            marks[names.index(entry.x) if entry.value is None else entry.value] = mark
    tint = colour(own[0].member.result.role, own[0].member.result.task)
    bands = [_band(member, scratch, quantity) for member in (longer, *(m for m in rivals if m.place == place))]
    title = f"{place[1]}, {place[0]}" if quantity == "force" else ""
    label = f"Δ {quantity} RMSE / %"
    return Panel(title, [Series("", tint, marks)], [band for band in bands if band is not None], label)


def _band(member: Member | None, scratch: Member | None, quantity: Quantity) -> Band | None:
    if member is None or scratch is None:
        return None
    mark = change_mark(change(member, scratch, quantity), member, scratch, quantity)
    return None if mark is None else Band(member.name, colour(member.result.role, member.result.task), mark)
