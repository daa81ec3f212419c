"""Whatever file operation fails, a command ends in one line, leaves whole files and can be run again."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tests.conftest import LONG
from tests.faults.layer import faults
from tests.faults.stages import KINDS, Stage, fail_at, run, simulated, sketch, stages, written

#: Operations of a command that are failed here, evenly spread; in ``make check-long`` every
#: one is, and figures are drawn in earnest.
MOST = {
    "pretrain": 1,
    "finetune": 4,
    "export": 1,
    "details": 1,
    "answer": 1,
    "card": 1,
    "report": 1,
    "convert": 2,
    "claims": 2,
    "figures": 2,
    "statistics": 2,
}
NAMES = [stage.name for stage in stages(Path())]


@pytest.fixture(scope="session")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("faults"))


def undisturbed(stage: Stage, folder: Path) -> tuple[dict[str, bytes], int]:
    """What the command writes, and how many operations it takes."""
    stage.prepare(folder)
    with faults(folder, 0, errno.EIO) as found:
        code, said = run(stage, folder)
    assert code == 0, said
    return written(folder), found.count


@pytest.mark.parametrize("name", NAMES)
def test_any_operation_may_fail(
    name: str, analysed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    stage = next(stage for stage in stages(analysed) if stage.name == name)
    for variable, value in stage.environment.items():
        monkeypatch.setenv(variable, value)
    if not LONG:
        monkeypatch.setattr(Figure, "savefig", sketch)
    whole, count = undisturbed(stage, tmp_path)
    assert len(whole) > 0
    assert count >= 4  # a temporary file, its flush, its mode and its name at least
    failed = 0
    once = not LONG and name in ("export", "figures")  # which take a second each
    for index, number in enumerate(KINDS[:1] if once else KINDS):
        most = count if LONG else min(count, MOST.get(name, 3))
        # Of a full disk fewer operations are counted: then the last places are not reached.
        places = range(1, count + 1) if LONG else {1 + (count - 1) * (3 * k + index) // (3 * most) for k in range(most)}
        for at in sorted(places):
            if fail_at(stage, tmp_path, whole, at, number).hit is None:
                break
            failed += 1
    record_property("failed", f"{failed} file operations, {count} in a command")
