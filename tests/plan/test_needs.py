"""What jobs ask a cluster for."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from priorbench.cli import main
from priorbench.errors import PriorbenchError
from priorbench.plan.needs import LEAST, NAME, UNKNOWN, Needs
from tests.plan.test_command import config, place  # noqa: F401, a fixture


def test_without_a_plan_a_job_may_take_a_working_day(tmp_path: Path) -> None:
    needs = Needs(tmp_path)
    assert needs.training("pretrain", "water", "egnn", "mask", 3) == 3 * UNKNOWN
    assert needs.part("water") == UNKNOWN


@pytest.mark.usefixtures("worker")
def test_a_saved_plan_asks_for_twice_the_time_of_the_longest_seed(
    place: Path,  # noqa: F811
    capsys: Any,
) -> None:
    assert main(["plan", config(place), "--json", "--save", "--cores", "1"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "results/planned/plan.json: jobs will ask a cluster for 2 times these times\n"
    plan = json.loads(printed.out)
    needs, saved = Needs(place / "results/planned"), json.loads((place / "results/planned" / NAME).read_text())
    assert len(saved["seconds"]) == len(plan["lines"]) + len(plan["data"])
    for line in plan["lines"]:
        run = line["seconds_per_run"]["total"] + line["start_seconds"] / line["runs"]
        for seeds in (1, 1000):
            asked = needs.training(line["stage"], line["dataset"], line["backbone"], line["name"], seeds)
            assert max(LEAST, 2 * run * seeds / 60) <= asked <= max(LEAST, math.ceil(2.5 * run * seeds / 60))
    assert needs.training("finetune", "water", "egnn", "unheard of", 1) == UNKNOWN


@pytest.mark.parametrize("content", ["[]", "{}", '{"seconds": {"a": "long"}}', "{"])
def test_a_damaged_plan_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(content)
    with pytest.raises(PriorbenchError) as caught:
        Needs(tmp_path)
    assert "\n" not in str(caught.value)
