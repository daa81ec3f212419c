"""Kept results that are asked to be redrawn must be there and answer a known question."""

from pathlib import Path
from typing import Any

import pytest

from priorbench.errors import PriorbenchError
from priorbench.redraw import parse_redraw


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "runs.csv").touch()
    return tmp_path


def test_every_entry_names_its_folder_and_question(folder: Path) -> None:
    found = parse_redraw({"redraw": {"a": {"folder": folder}, "b": {"folder": folder, "question": "q4"}}}, "here.yaml")
    assert {name: kept.question for name, kept in found.items()} == {"a": None, "b": "q4"}


def test_faults_are_named(folder: Path) -> None:
    faults: list[tuple[Any, str]] = [
        ({"redraw": {}}, "redraw"),
        ({"redraw": {"a": {"folder": folder}}, "seeds": [1]}, "nothing beside it"),
        ({"redraw": {"a": {"folder": folder / "none"}}}, "no runs.csv"),
        ({"redraw": {"a": {"folder": folder, "question": "q99"}}}, "'q99'"),
        ({"redraw": {"a": {"folder": folder, "colour": 1}}}, "colour"),
    ]
    for data, named in faults:
        with pytest.raises(PriorbenchError, match=named) as caught:
            parse_redraw(data, "here.yaml")
        assert str(caught.value).startswith("here.yaml: ")
