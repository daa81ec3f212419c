"""The figure of a ranking: changes of test RMSE against each reference, a line for each strategy."""

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from priorbench.analysis.results import Quantity
from priorbench.analysis.style import colour
from priorbench.questions.compare import Against, Entry
from priorbench.questions.draw import Mark, change_mark
from priorbench.questions.forest import Block, Heading, Line, forest_figure

CAPTION = (
    "Change of test RMSE, paired by seed: mean, 95 % interval, seeds as small dots; filled: forces, hollow: energies. "
    "Grey ground: changes too small to count (±3 %)."
)


def change_forest(
    entries: Sequence[Entry],
    references: Sequence[Against],
    label: Callable[[Entry], str] = lambda entry: entry.member.name,
) -> Figure:
    """A block for each place, a panel for each reference; forces filled, energies hollow beneath them."""
    blocks = []
    for place in dict.fromkeys(entry.member.place for entry in entries):
        own = [entry for entry in entries if entry.member.place == place]
        lines = [_line(entry, references, label(entry)) for entry in own]
        blocks.append(Block(f"{place[1]}, {place[0]}", lines))
    headings = [Heading(f"Δ RMSE vs {against.label} / %") for against in references]
    return forest_figure(blocks, headings, CAPTION)


def _line(entry: Entry, references: Sequence[Against], label: str) -> Line:
    result = entry.member.result
    forces, energies = ([_mark(entry, against, q) for against in references] for q in ("force", "energy"))
    return Line(label, colour(result.role, result.task), forces, energies)


def _mark(entry: Entry, against: Against, quantity: Quantity) -> Mark | None:
    return change_mark(entry.change(against.label, quantity), entry.member, against.find(entry.member), quantity)
