"""Files that are either whole or absent: write beside the place, flush, rename."""

import csv
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from priorbench.errors import PriorbenchError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix) that becomes ``path`` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
    """Columns and rows of a CSV file, values as they stand; ``mend`` says what to do where there is no such file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
    except FileNotFoundError:
        raise PriorbenchError(f"{path}: no such file; {mend}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise PriorbenchError(f"{path}: not readable as CSV ({error}); {mend}") from None
    columns = list(reader.fieldnames or [])
    if len(set(columns)) != len(columns) or any(None in row or None in row.values() for row in rows):
        raise PriorbenchError(f"{path}: its rows and columns do not fit each other; it is damaged, {mend}")
    return columns, rows


def check_table(path: Path, mend: str) -> None:
    """Refuse a CSV file with a row longer or shorter than its header: pandas would shift or fill its columns."""
    try:
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
