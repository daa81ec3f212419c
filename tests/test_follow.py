"""`priorbench run`: bars on a terminal, Snakemake's own lines elsewhere, its exit code and signals always."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from priorbench.follow import bar
from tests.test_status import place  # noqa: F401


@pytest.fixture(autouse=True)
def hang_ups_are_heard() -> Iterator[None]:
    """Also where the tests run under nohup, whose deafness programs started here would inherit."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


# What Snakemake says, and how it answers SIGINT and SIGTERM: the rest of it is not needed to be followed.
FAKE = """
import signal, sys, time
from pathlib import Path
def leave(number, frame):
    Path("asked").write_text(str(number))
    print("Terminating processes on user request", flush=True)
    sys.exit(1)
signal.signal(signal.SIGINT, leave); signal.signal(signal.SIGTERM, leave)
print("total                5", flush=True)
print("Job 3: Collect the records", flush=True)
print("Job 4: Finetune egnn by mask on water, seed 0", flush=True)
print("2 of 5 steps (40%) done", flush=True)
Path("begun").touch()
time.sleep(float(sys.argv[1]))
print("Finished jobid: 3 (Rule: collect)", flush=True)
print("5 of 5 steps (100%) done", flush=True)
print("the last words", flush=True)
sys.exit(int(sys.argv[2]))
"""
CALL = """
import sys
from pathlib import Path
from priorbench import follow
follow.EVERY = 0.05
sys.exit(follow.run(Path("watched.yaml"), "1", [sys.executable, "fake.py", *sys.argv[1:3]]))
"""


def started(
    seconds: float, code: int, terminal: bool, fake: str = FAKE, call: str = CALL
) -> tuple[subprocess.Popen[bytes], int]:
    """The command with a fake Snakemake of so many seconds, and where its output is read."""
    Path("fake.py").write_text(fake)
    reader, writer = pty.openpty() if terminal else os.pipe()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "70", "LINES": "24"}
    command = [sys.executable, "-c", call, str(seconds), str(code)]
    process = subprocess.Popen(command, stdout=writer, stderr=writer, env=environment, start_new_session=True)
    os.close(writer)
    return process, reader


def output(reader: int) -> str:
    found = b""
    while True:
        try:
            part = os.read(reader, 4096)
        except OSError:  # a terminal whose other side is closed
            break
        if not part:
            break
        found += part
    os.close(reader)
    return found.decode()


def until_begun() -> None:
    end = time.monotonic() + 20
    while not Path("begun").exists():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.usefixtures("place")
def test_on_a_terminal_bars_are_drawn_in_one_place() -> None:
    process, reader = started(0.6, 0, terminal=True)
    shown = output(reader)
    assert process.wait() == 0
    assert "2 of 5 jobs" in shown
    assert "5 of 5 jobs" in shown
    assert "Collect the records" in shown
    assert "Finetune egnn" in shown, "until it says something of itself"
    assert re.search(r"\x1b\[\d+A", shown), "drawn over what was there"
    assert "the last words" not in shown
    assert "the last words" in Path("results/watched/logs/run.log").read_text()
    assert max(len(line) for line in re.sub(r"\x1b\[\d*[A-Z]", "", shown).splitlines()) <= 70


@pytest.mark.usefixtures("place")
def test_elsewhere_snakemake_speaks_for_itself() -> None:
    process, reader = started(0, 0, terminal=False)
    shown = output(reader)
    assert process.wait() == 0
    assert "the last words" in shown
    assert "\x1b" not in shown


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("terminal", [True, False])
def test_a_failure_is_passed_on_with_the_last_lines(terminal: bool) -> None:
    process, reader = started(0, 3, terminal)
    shown = output(reader)
    assert process.wait() == 3
    assert "the last words" in shown


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_snakemake_and_it_is_waited_for(number: signal.Signals, terminal: bool) -> None:
    process, reader = started(30, 0, terminal)
    until_begun()
    # The terminal sends Ctrl-C to all; whoever ends a process sends SIGTERM to it alone.
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    shown = output(reader)
    assert process.wait(timeout=10) == 1
    assert Path("asked").read_text() == str(int(number))
    assert "Terminating processes" in shown


# What Snakemake says of a job that failed while others went on, with `keep-going` and `show-failed-logs`.
FAILED = """
import sys, time
print("total                5", flush=True)
print("Job 4: Finetune egnn by mask on water, seed 0", flush=True)
time.sleep(0.3)
print("[Sun Nov 29 01:40:17 2026]\\nError in rule finetune:\\n    message: None\\n    jobid: 4")
print("Logfile seed0.log:\\nthe reason\\n[Sun Nov 29 01:40:19 2026]", flush=True)
for job in range(40):
    print(f"Finished jobid: {job + 10} (Rule: other)", flush=True)
time.sleep(0.3)
sys.exit(1)
"""


@pytest.mark.usefixtures("place")
def test_an_error_is_shown_once_even_if_much_follows_it() -> None:
    process, reader = started(0, 1, terminal=True, fake=FAILED)
    shown = output(reader)
    assert process.wait() == 1
    assert shown.count("the reason") == 1
    assert "Error in rule finetune" in shown
    assert "Finished jobid" not in shown
    assert "Finetune egnn" not in shown.partition("the reason")[2], "it runs no longer"
    assert "run.log has all of it" in shown


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("fault", ["raise ValueError('a fault')", "os.kill(os.getpid(), signal.SIGHUP)"])
def test_a_fault_or_a_closed_terminal_ends_snakemake_too(fault: str) -> None:
    broken = f"def broken(self, last=False):\n    if Path('begun').exists() and not last: {fault}\n"
    before = f"import os, signal\nfrom pathlib import Path\nfrom priorbench import follow\n{broken}"
    process, reader = started(30, 0, terminal=True, call=f"{before}follow.Board.draw = broken\n{CALL}")
    output(reader)
    assert process.wait(timeout=10) == 1
    assert Path("asked").read_text() == str(int(signal.SIGTERM)), "asked to let the trainings save"


@pytest.mark.usefixtures("place")
def test_snakemake_itself_does_not_die_of_a_closed_terminal() -> None:
    process, reader = started(30, 0, terminal=True)
    until_begun()
    os.killpg(process.pid, signal.SIGHUP)  # as the terminal does: to all
    output(reader)
    assert process.wait(timeout=10) == 1
    assert Path("asked").read_text() == str(int(signal.SIGTERM))


@pytest.mark.usefixtures("place")
def test_nohup_is_respected() -> None:
    call = f"import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n{CALL}"
    process, reader = started(0.6, 0, terminal=False, call=call)
    until_begun()
    os.killpg(process.pid, signal.SIGHUP)
    assert "the last words" in output(reader)
    assert process.wait(timeout=10) == 0
    assert not Path("asked").exists()


def test_half_a_number_is_never_shown() -> None:
    words = "epoch 3/6  force 123.4 meV/Å  512.3 structures/s  ETA 0:12"
    line = bar("egnn pretrain denoise 7", 0.5, words, 59)
    assert len(line) <= 59
    assert line.endswith("ETA 0:12")
    assert "…" in line
    assert line.split("…")[1].startswith(" 7"), "which seed it is"
    assert "structures" not in line


@pytest.mark.parametrize("width", [20, 80, 200])
def test_a_bar_gives_way_on_a_narrow_terminal(width: int) -> None:
    line = bar("egnn mask 0", 0.5, "epoch 3/6", width)
    assert " 50 %" in line
    assert ("#" in line) == (width >= 80)
    assert bar("x", 7.0, "", 200).count("#") == 30
