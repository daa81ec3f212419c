"""Runs mutated files through a parser, within limits of time and memory, and says what went wrong with which."""

import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

from priorbench.errors import PriorbenchError
from tests.fuzz.mutations import Mutation, several

SECONDS = 5.0  # of CPU for one input
WAITING = 60.0  # s, whatever else the machine does meanwhile
GIGABYTE = 1024**3  # more than before
LONGEST = 2000  # characters of the line that refuses an input


@dataclass(frozen=True)
class Subject:
    """Files that a parser accepts, how each is mutated, and what reads them.

    ``read`` raises :class:`PriorbenchError` for what it refuses and ``AssertionError`` where the parser accepted what
    breaks an invariant.
    """

    files: Mapping[Path, Sequence[Mutation]]
    read: Callable[[], None]


@dataclass(frozen=True)
class Fault:
    """What one input did that none may do."""

    parser: str
    index: int
    what: str

    def __str__(self) -> str:
        return f"`python -m tests.fuzz {self.parser} {self.index}` shows again: {self.what}"


class HangError(BaseException):
    """No ``except Exception`` of a parser may swallow it."""


def fuzz(parser: str, subject: Subject, indices: Sequence[int]) -> tuple[list[Fault], int]:
    """The faults among the inputs of ``indices``, and how many inputs were refused; index and name decide an input."""
    valid = {path: path.read_bytes() for path in subject.files}
    subject.read()  # the unchanged files pass, or nothing is shown
    faults, refused = [], 0
    _reset_peak()
    before = _peak()
    for index in indices:
        random = Random(f"{parser}/{index}")
        path = random.choice(list(subject.files))
        _put(path, several(random, valid[path], subject.files[path]))
        what, was_refused = _outcome(subject.read)
        refused += was_refused
        if what is None and _peak() - before > GIGABYTE:
            what = f"took {(_peak() - before) / GIGABYTE:.1f} GB of memory"
            _reset_peak()
        if what is not None:
            faults.append(Fault(parser, index, f"{path.name}: {what}"))
        _put(path, valid[path])
    return faults, refused


def _put(path: Path, content: bytes) -> None:
    """Another file in its place: what was mapped before must not change."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _outcome(read: Callable[[], None]) -> tuple[str | None, bool]:
    """What went wrong, and whether the input was refused as it should be."""
    refused, what = False, None
    used = time.process_time()
    try:
        with _alarm(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is only said does not stop a user either
            read()
    except PriorbenchError as error:
        refused, text = True, str(error)
        if "\n" in text or len(text) > LONGEST:
            what = f"is refused by {len(text)} characters in {text.count(chr(10)) + 1} lines: {text[:200]!r}"
    except HangError:
        what = f"takes more than {SECONDS:g} s"
    except Exception:
        what = traceback.format_exc(limit=-4)
    if what is None and time.process_time() - used > SECONDS:
        what = f"took {time.process_time() - used:.1f} s"
    return what, refused


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise HangError

    limits = ((signal.ITIMER_PROF, signal.SIGPROF, SECONDS), (signal.ITIMER_REAL, signal.SIGALRM, WAITING))
    before = [signal.signal(number, ring) for _, number, _ in limits]
    try:
        for timer, _, seconds in limits:
            signal.setitimer(timer, seconds)
        yield
    finally:
        for (timer, number, _), handler in zip(limits, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def _peak() -> int:
    """Largest resident memory of this process so far, bytes."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def _reset_peak() -> None:
    """On Linux, forget what was used before; elsewhere the peak counts from the start of the process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
