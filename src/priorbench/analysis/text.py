"""Numbers and tables as text: aligned Markdown and LaTeX booktabs."""

import math
import re
from collections.abc import Sequence

from priorbench.analysis.intervals import Estimate, Paired

MISSING = "–"


def number(value: float | None, digits: int = 3) -> str:
    """``digits`` significant digits without an exponent, with a true minus; a dash for None."""
    return MISSING if value is None else _minus(f"{value:.{_decimals(value, digits)}f}")


def with_interval(estimate: Estimate) -> str:
    """``mean [low, high]`` with as many decimals throughout as the mean has."""
    if estimate.mean is None or estimate.low is None or estimate.high is None:
        return number(estimate.mean)
    places = _decimals(estimate.mean, 3)
    return _minus(f"{estimate.mean:.{places}f} [{estimate.low:.{places}f}, {estimate.high:.{places}f}]")


def percent(value: float | None) -> str:
    """A fraction as signed per cent with one decimal; whole numbers beyond ±100."""
    if value is None:
        return MISSING
    sign = "−" if value < 0 else "+"
    return f"{sign}{abs(100 * value):.{1 if abs(value) < 1 else 0}f}"


def change(paired: Paired) -> str:
    """Δ with its interval in per cent, and how many pairs were lost to divergence."""
    text = percent(paired.delta)
    if paired.low is not None and paired.high is not None:
        text += f" [{percent(paired.low)}, {percent(paired.high)}]"
    return text + (f" ({len(paired.diverged)} diverged)" if paired.diverged else "")


def p_value(value: float | None) -> str:
    """A p-value with three decimals; a dash for None."""
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], columns: str) -> str:
    """An aligned Markdown table; ``columns`` has one ``l`` (left) or ``r`` (right) a column."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    rule = ["-" * w if side == "l" else "-" * (w - 1) + ":" for side, w in zip(columns, widths, strict=True)]
    lines = [_align(cells[0], widths, columns), rule, *(_align(row, widths, columns) for row in cells[1:])]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _align(row: Sequence[str], widths: Sequence[int], columns: str) -> list[str]:
    return [
        cell.ljust(width) if side == "l" else cell.rjust(width)
        for cell, width, side in zip(row, widths, columns, strict=True)
    ]


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "Å": r"\AA{}",
    "Δ": r"$\Delta$",
    "×": r"$\times$",
    "−": r"$-$",
    "–": "--",
    "†": r"\textsuperscript{\dag}",
    "≥": r"$\geq$",
    "<": r"$<$",
    "σ": r"$\sigma$",
}
_SPECIAL = re.compile("|".join(re.escape(character) for character in _LATEX))


def latex(text: str) -> str:
    """``text`` with everything escaped that LaTeX would take for a command."""
    return _SPECIAL.sub(lambda match: _LATEX[match.group()], text)


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str, columns: str) -> str:
    """A booktabs table float with the given ``columns`` (l, r), as wide as the line; needs booktabs and graphicx."""
    body = "".join(" & ".join(f"{{{latex(cell)}}}" for cell in row) + " \\\\\n" for row in rows)
    lines = [
        r"% \usepackage{booktabs,graphicx}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(caption)}}}",
        r"\resizebox{\linewidth}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(latex(cell) for cell in header) + r" \\",
        r"\midrule",
        body + r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _minus(digits: str) -> str:
    return digits.replace("-", "−")


def _decimals(value: float, digits: int) -> int:
    if value == 0 or not math.isfinite(value):
        return digits - 1
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))
