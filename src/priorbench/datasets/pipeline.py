"""The two steps from a dataset's specification to its frames: acquire the parts, convert them.

A dataset is the JSON object of :func:`priorbench.runs.dataset_spec`: ``{"name", "source", "options"}``.  Its parts are
files ``<part>.npz``.  Asking for the parts imports neither torch nor OpenMM, because the workflow's DAG is built so.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from priorbench.datasets.base import Expected, Source
from priorbench.errors import PriorbenchError
from priorbench.registry import load


def source_for(source: str, options: Mapping[str, Any]) -> Source:
    """The source registered as ``source``, made from ``options``; options that contradict each other are refused."""
    kind = load("dataset", source)
    try:
        instance: Source = kind(kind.Options(**options))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join([source, *map(str, first["loc"])])
        raise PriorbenchError(f"{path}: {first['msg'].removeprefix('Value error, ')}") from None
    return instance


def parts(dataset: Mapping[str, Any]) -> list[str]:
    """Names of the parts that ``dataset`` is acquired in, one job each."""
    return source_for(dataset["source"], dataset["options"]).parts()


def part_spec(dataset: Mapping[str, Any], part: str) -> dict[str, Any]:
    """``dataset`` as far as acquiring ``part`` depends on it."""
    source = source_for(dataset["source"], dataset["options"])
    own = source.options_of(part).model_dump(mode="json") if hasattr(source, "options_of") else dataset["options"]
    return {**dataset, "options": own}


def files(dataset: Mapping[str, Any]) -> list[Path]:
    """The user's own files that ``dataset`` is read from: when they change, it is made again."""
    source = source_for(dataset["source"], dataset["options"])
    return list(source.files()) if hasattr(source, "files") else []


def expected(dataset: Mapping[str, Any]) -> list[Expected] | None:
    """What structures ``dataset`` will have; None where that is unknown until it is read."""
    source = source_for(dataset["source"], dataset["options"])
    return source.expected() if hasattr(source, "expected") else None


def has_checks(dataset: Mapping[str, Any]) -> bool:
    """Whether the source draws checks of what it generated."""
    return hasattr(source_for(dataset["source"], dataset["options"]), "draw_checks")


def draw_checks(dataset: Mapping[str, Any], parts: Sequence[Path], stem: Path) -> None:
    """Draw the checks of a generated ``dataset`` to ``stem``.{pdf,png}."""
    source = source_for(dataset["source"], dataset["options"])
    if not hasattr(source, "draw_checks"):
        raise PriorbenchError(f"{dataset['name']}: source {dataset['source']!r} generates nothing that is checked")
    files = {path.stem: path for path in parts}
    source.draw_checks({part: files[part] for part in source.parts()}, stem)


def acquire(dataset: Mapping[str, Any], part: str, mirror: Path | None, output: Path) -> None:
    """Generate or fetch ``part`` of ``dataset`` and write it to ``output`` (.npz, the source's own units).

    ``mirror`` is a folder tried before any download; the environment variable PRIORBENCH_MIRROR overrides it.
    """
    source = source_for(dataset["source"], dataset["options"])
    if part not in source.parts():
        raise PriorbenchError(f"{dataset['name']}: no part {part!r}; its parts are {', '.join(source.parts())}")
    configured = os.environ.get("PRIORBENCH_MIRROR")
    source.acquire(part, Path(configured) if configured else mirror, output)


def convert(dataset: Mapping[str, Any], parts: Sequence[Path], output: Path) -> None:
    """Convert all ``parts`` of ``dataset`` to frames (``output``); what cannot be trained on leaves nothing behind."""
    source = source_for(dataset["source"], dataset["options"])
    files = {path.stem: path for path in parts}
    if sorted(files) != sorted(source.parts()):
        raise PriorbenchError(
            f"{dataset['name']}: parts {sorted(files)} were given but {sorted(source.parts())} make the dataset; "
            "acquire each once"
        )
    try:
        frames = source.convert({part: files[part] for part in source.parts()})
    except PriorbenchError as error:
        raise PriorbenchError(f"{dataset['name']}: {error}") from None
    frames = replace(frames, metadata={**frames.metadata, "dataset": dict(dataset)})
    frames.validate(dataset["name"])
    frames.save(output)
