"""Numbers as parts of a sentence: changes with their intervals, and lists of them."""

from collections.abc import Sequence

from priorbench.analysis.intervals import Estimate, Paired, Verdict
from priorbench.analysis.text import percent, with_interval
from priorbench.questions.compare import word

#: More comparisons than this are summed up in a sentence by their extremes; all are in the table.
MOST = 4
WORDS: dict[Verdict, str] = {"reproduced": "Yes", "contradicted": "No", "undecided": "Undecided"}

Case = tuple[str, Paired | None]


def quote(found: Paired | None) -> str:
    """``−8.2 % [−10.1, −6.3]``, with what was lost to divergence and where neither network was trained."""
    if found is None or found.delta is None:
        lost = f" ({len(found.diverged)} pairs diverged)" if found and found.diverged else ""
        return f"not measured{lost}"
    text = f"{percent(found.delta)} %"
    if found.low is not None and found.high is not None:
        text += f" [{percent(found.low)}, {percent(found.high)}]"
    many, neither = len(found.diverged), len(found.untrained)
    text += f" ({many} of {found.pairs + many} pairs diverged)" if many else ""
    return text + (f" (neither better than trivial in {neither} of {found.pairs} pairs)" if neither else "")


def value(found: Estimate) -> str:
    """``0.52 [0.48, 0.56]``, or that there is none."""
    return "not measured" if found.mean is None else with_interval(found)


def listing(cases: Sequence[Case]) -> str:
    """All changes with their labels, or of many the least and the largest and how many are lower."""
    known = [(label, found) for label, found in cases if found is not None and found.delta is not None]
    if len(cases) <= MOST or len(known) < 2:
        return join([_labelled(*case) for case in cases]) if cases else "not measured"
    ordered = sorted(known, key=lambda case: case[1].delta or 0.0)
    lower = sum(word(found) == "lower" for _, found in cases)
    ends = " to ".join(_labelled(*ordered[i]) for i in (0, -1))
    return f"{ends}, lower in {lower} of {len(cases)}"


def join(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def capital(text: str) -> str:
    """The text as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def _labelled(label: str, found: Paired | None) -> str:
    return f"{quote(found)} ({label})" if label else quote(found)
