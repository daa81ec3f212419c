"""Which kept results are redrawn: the section ``redraw`` of a file that stands in the place of an experiment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from priorbench.config import Strict, first_line
from priorbench.config_sections import Name
from priorbench.errors import PriorbenchError
from priorbench.registry import QUESTIONS


class Kept(Strict):
    """Kept results that can be redrawn."""

    folder: Path = Field(description="with runs.csv and curves.csv, and what else of the tables was kept")
    question: Name | None = Field(None, description="the question that the experiment answered")


def parse_redraw(data: Mapping[str, Any], where: str) -> dict[str, Kept]:
    """The section ``redraw`` of a file that asks for kept results to be redrawn, by a name of the writer's choice."""
    found: dict[str, Kept] = {}
    if set(data) != {"redraw"} or not isinstance(data["redraw"], Mapping) or not data["redraw"]:
        raise PriorbenchError(f"{where}: redraw: a mapping of names is expected, and nothing beside it")
    for name, entry in data["redraw"].items():
        try:
            found[str(name)] = Kept.model_validate(entry)
        except ValidationError as error:
            raise PriorbenchError(f"{where}: redraw.{name}: {first_line(error)}") from None
        question = found[str(name)].question
        if question is not None and question not in QUESTIONS:
            raise PriorbenchError(
                f"{where}: redraw.{name}.question: unknown question {question!r}; known are {', '.join(QUESTIONS)}"
            )
        if not (found[str(name)].folder / "runs.csv").is_file():
            raise PriorbenchError(f"{where}: redraw.{name}.folder: no runs.csv in {found[str(name)].folder}")
    return found
