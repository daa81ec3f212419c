"""A polite end: the first SIGTERM or SIGINT is noted, and the work asks at moments when it can stop without loss.

SLURM sends SIGTERM before it kills: at the time limit, before a preemption, on ``scancel --signal=TERM``.  Ctrl-C is
SIGINT; a second one ends the process at once.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

TRY_AGAIN = 75  # exit code: EX_TEMPFAIL of sysexits.h


class Interrupted(Exception):  # noqa: N818, no error
    """The work was asked to stop and has saved what it did; the same command goes on from there."""


class Stop:
    """Whether this process was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def _note(self, number: int, frame: object) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name


@contextmanager
def noticed() -> Iterator[Stop]:
    """While inside, signals are only noted; outside the main thread, where Python has no say in it, never."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop._note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
