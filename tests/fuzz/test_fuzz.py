"""A share of the mutated inputs for every parser; ``check_fuzz.py`` has all thousand (``make check-long``)."""

from pathlib import Path

import pytest

from tests.fuzz.harness import fuzz
from tests.fuzz.parsers import PARSERS

SLOW = {"records": 15, "tables": 15, "configuration": 60}
SHARE = 100


@pytest.mark.parametrize("parser", PARSERS)
def test_mutated_files_are_refused_in_one_line_or_mean_what_they_say(parser: str, tmp_path: Path) -> None:
    indices = range(SLOW.get(parser, SHARE))
    faults, refused = fuzz(parser, PARSERS[parser](tmp_path), indices)
    assert not faults, "\n".join(map(str, faults))
    assert refused > len(indices) / 4  # else nothing was put to the test
