"""One writer a folder: a lease file that its holder keeps beating, on any file system that several nodes share.

A holder that was killed stops beating; whoever waits sees the file unchanged for :data:`STALE` seconds of its own
clock, so that the clocks of the nodes need not agree, and takes over.  A holder on the same machine whose process is
gone is not waited for.  A lease is there with its content or not at all, and whatever a process leaves beside it names
that process: the next holder removes what was left by one that is gone.
"""

import errno
import json
import math
import os
import re
import secrets
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from priorbench.errors import PriorbenchError
from priorbench.stop import Interrupted, Stop

NAME, WAITING = ".lock", ".waiting"
BEAT, STALE, PATIENCE = 5.0, 30.0, 45.0  # s


def identity() -> dict[str, Any]:
    """Who this process is, for whoever finds its lease or its progress."""
    job = os.environ.get("SLURM_JOB_ID")
    return {"host": socket.gethostname(), "pid": os.getpid(), "space": _space(), "job": job}


class Lease:
    """The right to write into a folder, held while inside."""

    def __init__(self, folder: Path, patience: float | None = None, stop: Stop | None = None) -> None:
        self.path = folder / NAME
        # A job of a cluster waits until it is asked to stop: to come again would cost one of its retries.
        self.patience = patience or (math.inf if "SLURM_JOB_ID" in os.environ else PATIENCE)
        self.stop = stop
        self.waiting = _beside(self.path, WAITING)
        self.token = secrets.token_hex(8)
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        watch, deadline, waited = _Watch(self.path), time.monotonic() + self.patience, False
        try:
            while not self._created():
                if watch.abandoned():
                    watch.remove()
                    continue
                busy = f"{self.path.parent}: {describe(watch.holder)} is writing there"
                if self.stop:
                    raise Interrupted(f"{busy}; run the same command when it has ended")
                if time.monotonic() > deadline:
                    raise PriorbenchError(f"{busy}; wait for it, or end it and run this again")
                waited = True
                self.waiting.touch()
                time.sleep(0.2)
        finally:
            if waited:
                with suppress(OSError):
                    self.waiting.unlink(missing_ok=True)
        self._beating.start()
        self._clear()
        return self

    def wanted(self) -> bool:
        """Whether somebody waits for it; what was left by who waited and is gone is removed."""
        self._clear()
        return any(self.path.parent.glob(f"{WAITING}-*"))

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._beating.join()
        if self.held():
            with suppress(OSError):  # it is not beaten any more, so that others take it over
                self.path.unlink(missing_ok=True)

    def held(self) -> bool:
        """Whether the lease is still this one's; it is lost where this process slept for longer than STALE."""
        return (holder_of(self.path.parent) or {}).get("token") == self.token

    def check(self) -> None:
        """Raise where the lease was lost: another process may be writing."""
        if not self.held():
            other = describe(holder_of(self.path.parent))
            raise PriorbenchError(
                f"{self.path.parent}: {other} took over while this process stood still; it is left to it"
            )

    def _created(self) -> bool:
        if self.path.exists():
            return False
        whole = _beside(self.path, NAME)  # nobody is to wait for a lease that names no holder
        try:
            whole.write_text(json.dumps({**identity(), "token": self.token}), encoding="utf-8")
            _as_new(whole, self.path)
        except FileExistsError:  # of a server that was asked twice and has answered the second time, it is ours
            return self.held()
        except FileNotFoundError:  # taken away by who thinks that this process, which slept, is gone
            return False
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        finally:
            with suppress(OSError):
                whole.unlink(missing_ok=True)
        return True

    def _clear(self) -> None:
        """Remove what processes have left that are gone, by the clock of the file system where they are elsewhere."""
        with suppress(OSError):
            if not self.held():
                return
            os.utime(self.path)
            now = self.path.stat().st_ctime
            for prefix in (NAME, WAITING):
                for path in self.path.parent.glob(f"{prefix}-*"):
                    with suppress(FileNotFoundError):
                        if _gone(_owner(path)) or now - path.stat().st_ctime > STALE:
                            path.unlink()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            try:
                if self.held():
                    os.utime(self.path)
            except OSError:  # the file system is away; those who wait see no beat
                pass


class _Watch:
    """A lease of somebody else's, watched for beats."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.holder: dict[str, Any] | None = None
        self.seen: tuple[object, ...] | None = None
        self.since = time.monotonic()

    def abandoned(self) -> bool:
        """Whether it has not been beaten for STALE seconds, or its process on this machine is gone."""
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return False
        seen = (now.st_mtime_ns, now.st_ino)
        if seen != self.seen:
            self.seen, self.since = seen, time.monotonic()
            self.holder = holder_of(self.path.parent)
        return _gone(self.holder) or time.monotonic() - self.since > STALE

    def remove(self) -> None:
        """Take the watched lease away; one that came in its place meanwhile is put back."""
        aside = _beside(self.path, NAME)
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return
        found = _read(aside)
        if (found or {}).get("token") != (self.holder or {}).get("token"):
            with suppress(FileExistsError, FileNotFoundError):
                _as_new(aside, self.path)
        aside.unlink(missing_ok=True)


def _beside(path: Path, prefix: str) -> Path:
    """A new name in the folder of ``path`` that says which process uses it."""
    return path.with_name(f"{prefix}-{secrets.token_hex(8)}-{os.getpid()}@{_space()}@{socket.gethostname()}")


def _owner(path: Path) -> dict[str, Any]:
    """Whose name :func:`_beside` gave; empty where it gave none."""
    found = re.search(r"-(\d+)@(\d+)@(.+)$", path.name)
    return {"pid": found[1], "space": int(found[2]), "host": found[3]} if found else {}


def _space() -> int:
    """In which the numbers of processes mean anything: two containers may share the name of their machine."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _as_new(whole: Path, path: Path) -> None:
    """Give ``whole`` the name ``path`` as well; :class:`FileExistsError` where something has it."""
    try:
        os.link(whole, path)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOENT):
            raise
        content = whole.read_text(encoding="utf-8")  # of a file system that knows no links
        with path.open("x", encoding="utf-8") as file:
            try:
                file.write(content)
                file.flush()
            except OSError:
                path.unlink()
                raise


def holder_of(folder: Path) -> dict[str, Any] | None:
    """Who holds the lease of a folder; None where it is free."""
    return _read(folder / NAME)


def describe(holder: dict[str, Any] | None) -> str:
    """Job, process and machine of a holder."""
    if not holder:
        return "another process"
    job = f"SLURM job {holder['job']}, " if holder.get("job") else ""
    return f"{job}process {holder.get('pid')} on {holder.get('host')}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _gone(holder: dict[str, Any] | None) -> bool:
    if not holder or (holder.get("host"), holder.get("space")) != (socket.gethostname(), _space()):
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError, KeyError, OverflowError):
        return False
    return False
