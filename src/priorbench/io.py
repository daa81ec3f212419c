"""Files that are either whole or absent: write beside the place, flush, rename."""

import csv
import errno
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from priorbench.errors import PriorbenchError

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "your quota is used up: free some space and run again",
    errno.EROFS: "it can only be read there: choose another folder or have it made writable",
    errno.EACCES: "it may not be written or read by you: change its permissions or choose another folder",
    errno.EPERM: "it may not be written or read by you: change its permissions or choose another folder",
    errno.EIO: "the disk or the file system fails: see to it and run again",
}


def explained(error: OSError) -> str:
    """One line about a file operation that failed: the file, what the system says, and what to do where we know it."""
    reason = " ".join(str(error.strerror or error).split())
    named = [str(error.filename)] if error.filename else []
    advice = [_ADVICE[error.errno]] if error.errno in _ADVICE else []
    return "; ".join([": ".join([*named, reason]), *advice])


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix) that becomes ``path`` only if the block succeeds.

    Its content is on the disk before it takes the name, so that after a loss of power ``path`` is the old file or the
    new one, whole.  Which of the two is left to the file system; who removes what could replace the new one calls
    :func:`sync_folder` before.  An OSError names ``path``, not the temporary file.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):  # of a file system that is gone: the first error is the one to tell
                temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and _about(error.filename, path, temporary):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def _about(named: object, path: Path, temporary: Path | None) -> bool:
    """Whether an error is about the file being written: it names it, or nothing, as a failed write does."""
    return named is None or temporary is None or str(named) in (str(temporary), str(path))


def sync_folder(folder: Path) -> None:
    """Have the names of the files in ``folder`` on the disk, as far as its file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of file systems that know no such thing
            raise
    finally:
        os.close(handle)


def remove_leftovers(path: Path) -> None:
    """Remove what a process that was killed while it wrote ``path`` has left beside it; for its only writer."""
    for leftover in path.parent.glob(f".{path.stem}-*{path.suffix}"):
        leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON, NaN and infinity refused."""
    write_text(path, to_json(value))


def to_json(value: Any) -> str:
    """``value`` as readable JSON, NaN and infinity refused."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or damaged one is a :class:`PriorbenchError`."""
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PriorbenchError(f"{path}: no such file; run the rule that makes it first") from None
    except ValueError as error:
        raise PriorbenchError(f"{path}: not readable as JSON ({error}); delete it and run again") from None


def read_object(path: Path, keys: Iterable[str], mend: str) -> dict[str, Any]:
    """Read a JSON object that has all of ``keys``; ``mend`` says what to do where it has not."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise PriorbenchError(f"{path}: a JSON object is expected, found {type(content).__name__}; {mend}")
    for key in keys:
        if key not in content:
            raise PriorbenchError(f"{path}: no field {key!r}; it is damaged or was made by another version, {mend}")
    return content


def require_end(path: Path, mend: str) -> None:
    """Refuse a text file that was cut within its last line; ``mend`` says what to do."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1))
        if file.read() != b"\n":
            raise PriorbenchError(f"{path}: cut short in its last line; {mend}")


def from_json(text: str | bytes) -> Any:
    """What ``text`` says; ``ValueError`` for what :func:`to_json` never writes: NaN, infinity, endless nesting."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value


def read_rows(path: Path, mend: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of a CSV file, values as they stand; ``mend`` says what to do where it is not there or cut."""
    try:
        require_end(path, mend)
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
    except FileNotFoundError:
        raise PriorbenchError(f"{path}: no such file; {mend}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise PriorbenchError(f"{path}: not readable as CSV ({error}); {mend}") from None
    columns = list(reader.fieldnames or [])
    if len(set(columns)) != len(columns):
        raise PriorbenchError(f"{path}: a column stands twice in it; it is damaged, {mend}")
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():  # as csv says that there are more or fewer values than columns
            raise PriorbenchError(f"{path}: row {number} has not {len(columns)} values; {mend}")
    return columns, rows


def check_table(path: Path, mend: str) -> None:
    """Refuse a CSV file that was cut, or with a row longer or shorter than its header, which pandas would make fit."""
    try:
        require_end(path, mend)
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            fits = len(set(header)) == len(header) and all(len(row) in (0, len(header)) for row in rows)
    except FileNotFoundError:
        raise PriorbenchError(f"{path}: no such file; {mend}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise PriorbenchError(f"{path}: not readable as CSV ({error}); {mend}") from None
    if not header or not fits:
        raise PriorbenchError(f"{path}: its rows and columns do not fit each other; it is damaged, {mend}")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write ``rows`` (all with the same keys) as CSV; ``columns`` names the keys where there may be no row."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    return digest_file(path, "sha256")


def digest_file(path: Path, algorithm: str) -> str:
    """Digest of a file's bytes by an algorithm of hashlib, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def checksum_file(path: Path, like: str) -> str:
    """``"<algorithm>:<digest>"`` of a file, by the algorithm of the checksum that it shall be ``like``."""
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{digest_file(path, algorithm)}"


def sha256_json(value: Any) -> str:
    """SHA-256 of the canonical JSON form of ``value`` (sorted keys, no spaces), hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
