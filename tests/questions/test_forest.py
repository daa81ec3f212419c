"""Forest plots: every label lies on the page, however long the name of a strategy."""

import matplotlib as mpl
import pytest

from priorbench.analysis.style import RC
from priorbench.questions.draw import Mark
from priorbench.questions.forest import Block, Heading, Line, forest_figure


@pytest.mark.parametrize("label", ["mask", "longer-compute-classical", "a-strategy-with-quite-a-long-name, finetuned"])
def test_labels_lie_on_the_page(label: str) -> None:
    with mpl.rc_context(RC):
        figure = forest_figure(
            [Block("net, water", [Line(label, "#000000", [Mark(1.0, 0.5, 2.0)])])], [Heading("Δ / %")], "caption"
        )
        figure.canvas.draw()
    texts = [text for text in figure.axes[0].get_yticklabels() if text.get_text()]
    assert [text.get_text() for text in texts] == [label]
    assert texts[0].get_window_extent().x0 >= 0
