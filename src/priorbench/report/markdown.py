"""The Markdown that priorbench itself writes, as HTML: headings, paragraphs, lists and tables, everything escaped."""

import re
from collections.abc import Callable

from markupsafe import Markup, escape

_CODE = re.compile(r"`([^`]+)`")
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_EMPHASIS = re.compile(r"(?<![\w*])\*(\w[^*]*?)\*(?![\w*])")
_CELLS = re.compile(r"(?<!\\)\|")
_IMAGE = re.compile(r"^!\[[^\]]*\]\([^)]*\)$")


def to_html(source: str, level: int = 3) -> Markup:
    """``source`` as HTML whose largest heading is ``level``; pictures are left out."""
    blocks = (block.strip("\n") for block in re.split(r"\n\s*\n", source))
    return Markup("\n").join(_block(block, level) for block in blocks if block and not _IMAGE.match(block))


def tables_of(source: str) -> str:
    """The tables in ``source`` alone."""
    return "\n\n".join(block for block in re.split(r"\n\s*\n", source) if block.startswith("|"))


def without_title(source: str) -> str:
    """``source`` less a heading that it begins with."""
    return re.sub(r"\A# .*\n+", "", source)


def _block(block: str, level: int) -> Markup:
    kinds: dict[str, Callable[[str, int], Markup]] = {"#": _heading, "|": _table, "- ": _list}
    for start, render in kinds.items():
        if block.startswith(start):
            return render(block, level)
    return Markup(f"<p>{_inline(block)}</p>")


def _heading(block: str, level: int) -> Markup:
    first, _, rest = block.partition("\n")
    depth = min(6, level + len(first) - len(first.lstrip("#")) - 1)
    title = Markup(f"<h{depth}>{_inline(first.lstrip('#').strip())}</h{depth}>")
    return title + (_block(rest, level) if rest else Markup(""))


def _list(block: str, level: int) -> Markup:
    items = re.split(r"\n?- ", block)[1:]
    return Markup("<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>")


def _table(block: str, level: int) -> Markup:
    header, rule, *rows = (_split(line) for line in block.splitlines() if line.startswith("|"))
    sides = ["number" if cell.endswith(":") else "words" for cell in rule]
    head = ""
    if any(header):
        cells = (f'<th scope="col" class="{s}">{_code(c)}</th>' for c, s in zip(header, sides, strict=False))
        head = f"<thead><tr>{''.join(cells)}</tr></thead>"
    body = "".join(f"<tr>{_row(row, sides)}</tr>" for row in rows)
    box = '<div class="scroll" role="region" aria-label="table" tabindex="0">'
    return Markup(f"{box}<table>{head}<tbody>{body}</tbody></table></div>")


def _row(row: list[str], sides: list[str]) -> str:
    first, *rest = zip(row, sides, strict=False)
    cells = (f'<td class="{side}">{_code(cell)}</td>' for cell, side in rest)
    return f'<th scope="row" class="{first[1]}">{_code(first[0])}</th>' + "".join(cells)


def _split(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in _CELLS.split(line.strip())[1:-1]]


def _code(source: str) -> str:
    return _CODE.sub(r"<code>\1</code>", str(escape(source)))


def _inline(source: str) -> str:
    # What is between backticks stays as it is: split there first.
    parts = _CODE.split(str(escape(source)))
    words = [_EMPHASIS.sub(r"<em>\1</em>", _BOLD.sub(r"<strong>\1</strong>", part)) for part in parts[::2]]
    codes = [f"<code>{part}</code>" for part in parts[1::2]]
    return "".join(a + b for a, b in zip(words, [*codes, ""], strict=True))
