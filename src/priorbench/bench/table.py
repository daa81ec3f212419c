"""Tables as text: aligned for a terminal, and Markdown."""

import textwrap
from dataclasses import dataclass

from priorbench.analysis.text import markdown_table

WIDTH = 120  # of a terminal


@dataclass(frozen=True)
class Table:
    """A caption, a header, rows of as many cells, and one ``l`` or ``r`` a column."""

    caption: str
    header: list[str]
    rows: list[list[str]]
    columns: str

    def aligned(self) -> str:
        """For a terminal, with two spaces between the columns."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        padded = [
            "  ".join(
                cell.ljust(width) if side == "l" else cell.rjust(width)
                for cell, width, side in zip(line, widths, self.columns, strict=True)
            ).rstrip()
            for line in lines
        ]
        return textwrap.fill(self.caption, WIDTH) + "\n\n" + "\n".join(padded) + "\n"

    def markdown(self) -> str:
        """As a Markdown table."""
        return f"{self.caption}\n\n{markdown_table(self.header, self.rows, self.columns)}"
