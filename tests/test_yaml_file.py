"""What no configuration can mean is refused in one line, at once."""

import time
from pathlib import Path

import pytest

from priorbench.config import load_config
from priorbench.errors import PriorbenchError

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k0: 0, k1: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS + "seeds: *i\n", "values, those behind anchors counted"),
        (MERGES, "too many keys are merged"),
        ("seeds: &s [*s]\n", "nested too deeply"),
        ("seeds: " + "[" * 90_000, "nested too deeply"),
        ("seeds: [0, .inf]\n", "inf is not a finite number"),
        ("seeds: " + "9" * 5000, "not readable as YAML|too large"),
        ("seeds: [0, 1]\nseeds: [0, 2]\n", "the key 'seeds' is there twice"),
        ("extends: config.yaml\n", "extends itself"),
        ('extends: "a\\0b"\n', "is no name of a file"),
        ("extends: [3]\n", "is no name of a file"),
        ('extends: "\\ud800"\n', "is no name of a file"),
        ("experiment: " + "a" * 20_000, "a text of 20000 characters"),
        ("# " + "x" * 1_000_000, "characters are no configuration"),
    ],
)
def test_what_no_configuration_can_mean_is_refused_at_once(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(PriorbenchError, match=reason) as refusal:
        load_config(path)
    assert time.process_time() - started < 5
    assert len(str(refusal.value)) < 1000
    assert "\n" not in str(refusal.value)
