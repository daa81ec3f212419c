"""All mutated inputs for every parser (``make check-long``); not collected by ``make test``."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.harness import fuzz
from tests.fuzz.parsers import PARSERS

INPUTS = 1000


@pytest.mark.parametrize("parser", PARSERS)
def test_a_thousand_mutated_files_are_refused_in_one_line_or_mean_what_they_say(
    parser: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    faults, refused = fuzz(parser, PARSERS[parser](tmp_path), range(INPUTS))
    assert not faults, "\n".join(map(str, faults))
    assert refused > INPUTS / 4
    record_property("inputs", f"{INPUTS}, of which {refused} were refused")
