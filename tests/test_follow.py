"""`priorbench run`: bars on a terminal, Snakemake's own lines elsewhere, its exit code and signals always."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from priorbench.follow import bar
from tests.test_status import place  # noqa: F401

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


def started(seconds: float, code: int, terminal: bool) -> tuple[subprocess.Popen[bytes], int]:
    """The command with a fake Snakemake of so many seconds, and where its output is read."""
    Path("fake.py").write_text(FAKE)
    reader, writer = pty.openpty() if terminal else os.pipe()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "70", "LINES": "24"}
    call = [sys.executable, "-c", CALL, str(seconds), str(code)]
    process = subprocess.Popen(call, stdout=writer, stderr=writer, env=environment, start_new_session=True)
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
    assert "Finetune egnn" not in shown, "trainings have bars of their own"
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


@pytest.mark.parametrize("width", [20, 80, 200])
def test_a_bar_gives_way_on_a_narrow_terminal(width: int) -> None:
    line = bar("egnn mask 0", 0.5, "epoch 3/6", width)
    assert " 50 %" in line
    assert ("#" in line) == (width >= 80)
    assert bar("x", 7.0, "", 200).count("#") == 30
