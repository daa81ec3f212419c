"""Faults of the file system, injected one after the other into whatever a command does below a folder."""

import builtins
import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("fsync", "replace", "rename", "chmod", "unlink", "mkdir", "link", "utime")
CREATING = {"open", "write", "fsync", "mkdir", "link"}  # what a full disk refuses; it still renames and removes


class Faults:
    """Counts the operations below ``folder`` that change files, and fails the ``at``-th.

    A full disk (ENOSPC) goes on to refuse whatever needs room; any other fault comes once.
    """

    def __init__(self, folder: Path, at: int, number: int) -> None:
        self.folder, self.at, self.number = str(folder), at, number
        self.count = 0
        self.hit: tuple[str, str] | None = None  # operation and file

    def touch(self, operation: str, path: Any) -> None:
        """Take note of an operation; raise where it is the one to fail."""
        if not isinstance(path, str | os.PathLike) or not os.path.abspath(os.fspath(path)).startswith(self.folder):
            return
        full = self.number == errno.ENOSPC
        if full and operation not in CREATING:
            return
        self.count += 1
        if self.count == self.at or (full and self.count > self.at):
            self.hit = self.hit or (operation, os.fspath(path))
            # As the system does: a failed write does not say of which file.
            named = () if operation in ("write", "fsync") else (os.fspath(path),)
            raise OSError(self.number, os.strerror(self.number), *named)


class _Raw(io.FileIO):
    """A file whose writes are counted; one that fails has written a half."""

    faults: Faults
    place: str

    def write(self, data: Any) -> int:
        try:
            self.faults.touch("write", self.place)
        except OSError:
            super().write(memoryview(data).cast("B")[: memoryview(data).nbytes // 2])
            raise
        return super().write(data)


def _opener(faults: Faults, real: Callable[..., Any]) -> Callable[..., Any]:
    def opened(
        file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None,
        closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        if not set(mode) & set("wxa+") or not isinstance(file, str | os.PathLike):
            return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
        faults.touch("open", file)
        raw = _Raw(file, mode.replace("b", "").replace("t", ""))
        raw.faults, raw.place = faults, os.fspath(file)
        binary = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return binary if "b" in mode else io.TextIOWrapper(binary, encoding, errors, newline)

    return opened


@contextmanager
def faults(folder: Path, at: int, number: int) -> Iterator[Faults]:
    """While inside, the ``at``-th operation below ``folder`` fails; 0: none, they are only counted."""
    found = Faults(folder, at, number)
    descriptors: dict[int, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        real_open, real_low = builtins.open, os.open

        def low(path: Any, flags: int, *given: Any, **options: Any) -> int:
            if flags & os.O_CREAT and options.get("dir_fd") is None:
                found.touch("open", path)
            handle = real_low(path, flags, *given, **options)
            descriptors[handle] = os.fspath(path)
            return handle

        for name in NAMES:
            patch.setattr(os, name, _wrapped(found, name, getattr(os, name), descriptors))
        opened = _opener(found, real_open)
        patch.setattr(builtins, "open", opened)
        patch.setattr(io, "open", opened)
        patch.setattr(os, "open", low)
        yield found


def _wrapped(found: Faults, name: str, real: Callable[..., Any], descriptors: dict[int, str]) -> Callable[..., Any]:
    def wrapped(first: Any, *given: Any, **options: Any) -> Any:
        if options.get("dir_fd") is None:
            with contextlib.nullcontext():
                place = first
                if isinstance(first, int):  # fsync of a descriptor
                    place = descriptors.get(first) or os.readlink(f"/proc/self/fd/{first}")
                found.touch(name, place)
        return real(first, *given, **options)

    return wrapped
