"""What comes first on the page: the verdict on every claim, or the answer to every question."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from priorbench.analysis.results import QUANTITY_NAMES
from priorbench.report.markdown import tables_of, to_html, without_title
from priorbench.report.parts import Part
from priorbench.report.pictures import Picture, picture

#: A sign beside the word, so that no verdict is told by its colour alone.
SIGNS = {
    "reproduced": "●",
    "yes": "●",
    "contradicted": "▲",
    "no": "▲",
    "undecided": "○",
}


@dataclass(frozen=True)
class Verdict:
    """A word with its sign and what stands beside it."""

    quantity: str
    word: str
    line: str

    @property
    def kind(self) -> str:
        """The word if it is one of those that have a sign, for its style."""
        return self.word if self.word in SIGNS else "none"

    @property
    def sign(self) -> str:
        """A mark that tells verdicts apart without colour."""
        return SIGNS.get(self.word, "–")


@dataclass(frozen=True)
class Claim:
    """A claim with a verdict a quantity."""

    id: str
    text: str
    verdicts: list[Verdict]
    reason: str | None


@dataclass(frozen=True)
class Answer:
    """A question with its answer, table, figure and rule."""

    question: str
    title: str
    verdict: Verdict
    facts: list[tuple[str, str]]
    table: Markup
    legend: Markup
    figure: Picture | None


def claims(part: Part) -> list[Claim]:
    """Every claim of an experiment; none where it answers a question."""
    if part.claims is None or part.answer is not None:
        return []
    return [
        Claim(item["id"], item["claim"], [_verdict(item, q) for q in QUANTITY_NAMES], item["reason"])
        for item in part.claims["claims"]
    ]


def cases(part: Part) -> Markup:
    """Every case behind the verdicts and the rules, from ``claims.md``; nothing where it is not there."""
    path = part.folder / "claims.md"
    if not path.is_file() or part.answer is not None:
        return Markup("")
    _, _, details = path.read_text(encoding="utf-8").partition("\n## ")
    return to_html(f"## {details}", 3) if details else Markup("")


def answer(part: Part) -> Answer | None:
    """The answer of an experiment to its question."""
    if part.answer is None:
        return None
    found, page = part.answer, _page(part.folder / "answer/answer.md")
    facts = [("Looks at", found["looks_at"]), ("Abscissa", found["x"]), ("Rule", found["rule"])]
    facts += [("Not in this experiment", "; ".join(found["missing"]))] if found["missing"] else []
    return Answer(
        question=found["question"],
        title=found["title"],
        verdict=_judgement(found["judgement"], found["verdict"]),
        facts=[*facts, ("Recipe", found["recipe"]), ("Intervals", found["intervals"])],
        table=to_html(tables_of(page)),
        legend=to_html(_legend(page)),
        figure=picture(part.folder / "answer/figure.png", f"The answer to {found['question']}: {found['title']}"),
    )


def _verdict(item: dict[str, Any], quantity: str) -> Verdict:
    outcome = item["outcomes"][quantity]
    return Verdict(quantity, outcome["verdict"], outcome["line"].removeprefix(outcome["verdict"]).strip())


def _judgement(word: str | None, sentences: str) -> Verdict:
    """The judgement, and the sentences less the word that they begin with."""
    if word is None:
        return Verdict("", "not judged", sentences)
    rest = sentences.removeprefix(f"{word.capitalize()}: ")
    return Verdict("", word, rest[:1].upper() + rest[1:])


def _page(path: Path) -> str:
    return without_title(path.read_text(encoding="utf-8")) if path.is_file() else ""


def _legend(page: str) -> str:
    """What stands between the table and the first heading."""
    body = page.split("\n## ")[0]
    return body.rpartition("\n| ")[2].partition("\n\n")[2] if "\n| " in body else ""
