"""Files that no one gave us a hash of: pinned in a lock file when they are first seen, verified ever after.

The lock file (``data.lock.json`` in the current directory, or PRIORBENCH_LOCK) is JSON ``{url: {"size": bytes,
"sha256": hex}}``; commit it beside the configuration that it belongs to.  Jobs may share it and the cache folder.
"""

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from priorbench.datasets.download import cache_folder
from priorbench.errors import PriorbenchError
from priorbench.io import checksum_file, from_json, sha256_file, write_json

LOCK = "data.lock.json"
STEPS = 20  # lines of progress that a whole download prints
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Pin:
    """What identifies the content behind an address."""

    size: int  # bytes
    sha256: str  # hexadecimal


def lock_path() -> Path:
    """The lock file in use."""
    return Path(os.environ.get("PRIORBENCH_LOCK") or LOCK)


def read_pins() -> dict[str, Pin]:
    """Every pin by its address; none where there is no lock file yet."""
    path = lock_path()
    try:
        entries = from_json(path.read_text(encoding="utf-8"))
        return {url: _pin(entry) for url, entry in entries.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise PriorbenchError(f"{path}: damaged lock file ({reason}); restore it from version control") from None
    except OSError as error:
        raise PriorbenchError(f"{path}: the lock file cannot be read ({error.strerror}); mend it") from None


def pinned(url: str) -> Pin | None:
    """The pin of ``url``, if it was seen before."""
    return read_pins().get(url)


def add_pin(url: str, pin: Pin) -> None:
    """Pin ``url``, safely while other jobs pin theirs; the same pin again is fine, another is refused."""
    path = lock_path()
    try:
        with locked(path):
            pins = read_pins()
            if pins.setdefault(url, pin) != pin:
                raise PriorbenchError(f"{url}: {_differs(pin, pins[url])}")
            write_json(path, {key: asdict(pins[key]) for key in sorted(pins)})
    except OSError as error:
        raise PriorbenchError(
            f"{path}: the lock file cannot be written ({error.strerror}); name a writable one in PRIORBENCH_LOCK"
        ) from None


def fetch_pinned(
    url: str,
    relative: str,
    mirror: Path | None,
    first: Callable[[], tuple[int, str]] | None = None,
    check: Callable[[Path], object] | None = None,
) -> Path:
    """Return the local path of the file at ``url``: ``<mirror>/<relative>``, the same in the cache, or a download.

    What is pinned is verified.  What is seen for the first time must pass ``check`` (which raises) and have the size
    and the checksum (``"md5:..."``) that ``first`` asks the publisher for, then it is pinned; where the publisher
    cannot be asked, ``check`` decides alone.
    """
    copy = _mirrored(mirror, relative)
    if copy is not None:
        _accept(url, copy, first, check, f"replace it from {url} or remove it")
        return copy
    target = cache_folder() / relative
    with locked(target):
        if target.is_file():
            _accept(url, target, first, check, "delete it and run again")
        else:
            _require_writable_lock()
            _bring(url, target, relative, first, check)
    return target


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``<path>.lock`` while the block runs; another process (or thread) that wants it waits."""
    lock = path.with_name(path.name + ".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = _hold(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)  # while it is held, so that nobody else's is removed
        os.close(handle)


def _hold(lock: Path) -> int:
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{lock}: held by another job; waiting for it", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Its last holder has removed it: whoever comes now makes a new one, which must be the one held.
        try:
            if os.path.samestat(os.fstat(handle), lock.stat()):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)


def _pin(entry: Any) -> Pin:
    if not isinstance(entry, dict) or set(entry) != {"size", "sha256"}:
        raise ValueError("an entry is not {size, sha256}")
    size, sha256 = entry["size"], entry["sha256"]
    if type(size) is not int or size < 0 or not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise ValueError("a size or a sha256 is not one")
    return Pin(size, sha256)


def _mirrored(mirror: Path | None, relative: str) -> Path | None:
    if mirror is None:
        return None
    if not mirror.is_dir():
        raise PriorbenchError(f"mirror: no folder {mirror}; correct `mirror` (or PRIORBENCH_MIRROR) or leave it out")
    copy = mirror / relative
    return copy if copy.is_file() else None


def _accept(
    url: str,
    copy: Path,
    first: Callable[[], tuple[int, str]] | None,
    check: Callable[[Path], object] | None,
    advice: str,
) -> None:
    """Verify a local ``copy`` against its pin, or else against what its publisher states, and pin it."""
    pin, found = pinned(url), Pin(copy.stat().st_size, sha256_file(copy))
    if pin is None:
        stated, why = _ask(first)
        if stated is not None and stated != (own := (found.size, checksum_file(copy, stated[1]))):
            raise PriorbenchError(
                f"{copy}: has {own[0]} bytes and the {own[1]}, its publisher states {stated[0]} and {stated[1]}; "
                f"{advice}"
            )
        _pin_first(url, copy, found, check, why)
    elif pin != found:
        raise PriorbenchError(f"{copy}: {_differs(found, pin)}; {advice}")


def _ask(first: Callable[[], tuple[int, str]] | None) -> tuple[tuple[int, str] | None, str]:
    """What the publisher states, where that can be asked for, and why a file is accepted."""
    if first is None:
        return None, "taken on trust at first sight"
    try:
        stated = first()
    except PriorbenchError as error:
        return None, f"taken by its content alone, for {error}"
    return stated, f"as its publisher states ({stated[1]})"


def _pin_first(url: str, copy: Path, found: Pin, check: Callable[[Path], object] | None, why: str) -> None:
    if check is not None:
        check(copy)
    add_pin(url, found)
    print(f"{copy}: {why}; pinned in {lock_path()} ({found.size} bytes, SHA-256 {found.sha256})", flush=True)


def _require_writable_lock() -> None:
    """Say so before a download and not after it."""
    place = lock_path() if lock_path().exists() else lock_path().parent
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK) or (place != lock_path() and not place.is_dir()):
        raise PriorbenchError(f"{lock_path()}: the lock file cannot be written; name a writable one in PRIORBENCH_LOCK")


def _bring(
    url: str,
    target: Path,
    relative: str,
    first: Callable[[], tuple[int, str]] | None,
    check: Callable[[Path], object] | None,
) -> None:
    """Download ``url`` to ``target``; what fails ``check`` is not kept."""
    pin = pinned(url)
    try:
        if pin is not None:
            _download_as_pinned(url, target, pin)
            return
        why = _download_unseen(url, target, first)
        if check is not None:
            check(target)
    except PriorbenchError as error:
        target.unlink(missing_ok=True)
        raise PriorbenchError(
            f"{error}; or put the file at <mirror>/{relative} and name that folder in `mirror` or PRIORBENCH_MIRROR"
        ) from None
    _pin_first(url, target, Pin(target.stat().st_size, sha256_file(target)), None, why)


def _download_as_pinned(url: str, target: Path, pin: Pin) -> None:
    from priorbench.datasets.transfer import download

    try:
        download(url, target, pin.size, f"sha256:{pin.sha256}", progress_lines(target.name))
    except PriorbenchError as error:
        raise PriorbenchError(f"{error}; {pin.size} bytes are pinned in {lock_path()}") from None


def _download_unseen(url: str, target: Path, first: Callable[[], tuple[int, str]] | None) -> str:
    """Download what is not pinned; why it is to be believed."""
    from priorbench.datasets.transfer import download, stated_size

    stated, why = _ask(first)
    size, checksum = stated if stated is not None else (stated_size(url), None)
    if first is not None and stated is None:
        print(f"{url}: {why}", flush=True)
    download(url, target, size, checksum, progress_lines(target.name))
    return why


def progress_lines(name: str) -> Callable[[int, int], None]:
    """A callback for :func:`~priorbench.datasets.transfer.download` that prints a line every 5 %."""
    printed, start, begin = 0, -1, time.monotonic()

    def report(done: int, size: int) -> None:
        nonlocal printed, start, begin
        if start < 0 or done < start:  # what an earlier call left does not count for the speed
            printed, start, begin = done * STEPS // size, done, time.monotonic()
            return
        if (step := done * STEPS // size) > printed:
            printed = step
            speed = (done - start) / max(time.monotonic() - begin, 1e-9) / 1e6
            print(f"{name}: {done} of {size} bytes ({100 * done // size} %), {speed:.1f} MB/s", flush=True)

    return report


def _differs(found: Pin, pin: Pin) -> str:
    return (
        f"has {found.size} bytes and SHA-256 {found.sha256}, not the {pin.size} bytes and {pin.sha256} pinned in "
        f"{lock_path()} (remove that entry only if the change is meant)"
    )
