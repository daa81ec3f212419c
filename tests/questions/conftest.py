"""Simulated experiments for the questions."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.questions.simulate import Experiment, Simulation, Strategy

Make = Callable[..., Experiment]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write the tables of a simulation; keywords are those of the simulation."""

    def build(strategies: Mapping[str, Strategy], folder: str = "experiment", **options: Any) -> Experiment:
        return Simulation(strategies, **options).write(tmp_path / folder)

    return build
