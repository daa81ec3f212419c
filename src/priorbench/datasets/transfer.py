"""A large file over HTTP: streamed to disk, resumed where it was cut, verified before it takes its name."""

import time
from collections.abc import Callable
from pathlib import Path

import requests
import urllib3

from priorbench.errors import PriorbenchError
from priorbench.io import checksum_file

CHUNK = 1 << 20  # bytes
ATTEMPTS = 5  # in a row that bring nothing new
PAUSE = 2.0  # s before the second attempt, doubled before every further one
TIMEOUT = 60.0  # s without a byte
Progress = Callable[[int, int], None]


def download(url: str, target: Path, size: int, checksum: str | None = None, progress: Progress | None = None) -> None:
    """Bring ``url`` to ``target``, which afterwards is whole and has ``size`` bytes and the ``checksum``, or is absent.

    ``checksum`` is ``"<algorithm>:<hexadecimal digest>"``, e.g. of a Zenodo record (md5) or a lock file (sha256); None
    where nobody states one.  What arrived before a cut connection is kept in ``<target>.part`` and continued, at once
    and by later calls; where that turns out to be of another file, the download starts once more from nothing.
    ``progress`` gets the bytes that have arrived and ``size`` after every chunk.
    """
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    inherited = _length(part) > 0
    if _length(part) > size:
        part.unlink()
    _collect(url, part, size, progress)
    found = checksum and checksum_file(part, checksum)
    if inherited and found != checksum:
        part.unlink()
        _collect(url, part, size, progress)
        found = checksum and checksum_file(part, checksum)
    if found != checksum:
        part.unlink()  # resuming a wrong file would never end well
        raise PriorbenchError(f"{url}: has the {found}, not {checksum}; it was altered on the way or upstream")
    part.replace(target)


def stated_size(url: str) -> int:
    """Bytes that the server says the file at ``url`` has."""
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * attempt)
        try:
            with requests.get(
                url, stream=True, timeout=TIMEOUT, headers={"Range": "bytes=0-", "Accept-Encoding": "identity"}
            ) as answer:
                _refuse_missing(url, answer)
                size = _offered(answer)
                if answer.status_code not in (200, 206):
                    reason = f"answers {answer.status_code} {answer.reason}"
                elif size is None:
                    reason = "states no length"
                else:
                    return size
        except requests.RequestException as error:
            reason = f"the connection failed ({type(error).__name__})"
    raise PriorbenchError(f"{url}: {reason}")


def _collect(url: str, part: Path, size: int, progress: Progress | None) -> None:
    """Attempt until ``part`` has ``size`` bytes; give up after several attempts in a row that got no further."""
    failures, farthest, reason = 0, _length(part), ""
    while (have := _length(part)) != size:
        if have > size:
            part.unlink()
            raise PriorbenchError(f"{url}: has more than the {size} bytes expected; it changed upstream")
        if failures == ATTEMPTS:
            raise PriorbenchError(f"{url}: {reason} after {have} of {size} bytes; run again to continue from there")
        if failures:
            time.sleep(PAUSE * 2 ** (failures - 1))
        reason = _attempt(url, part, have, size, progress)
        got_further = _length(part) > farthest  # a server without ranges may begin anew again and again
        failures = 0 if got_further else failures + 1
        farthest = max(farthest, _length(part))


def _attempt(url: str, part: Path, have: int, size: int, progress: Progress | None) -> str:
    """Append what one connection delivers to ``part``; why it ended."""
    try:
        with requests.get(
            url,
            stream=True,
            timeout=TIMEOUT,
            headers={"Range": f"bytes={have}-", "Accept-Encoding": "identity"},
        ) as answer:
            _refuse_missing(url, answer)
            offered = _offered(answer)
            if offered not in (None, size):
                if answer.status_code != 200:  # a page that says "come back later" is no other version of the file
                    part.unlink(missing_ok=True)
                raise PriorbenchError(f"{url}: has {offered} bytes, not the {size} expected; it changed upstream")
            if answer.status_code not in (200, 206):
                return f"the server answered {answer.status_code}"
            if answer.status_code == 200 and have and offered is None:  # perhaps a page that says "log in first"
                return "the server neither continues nor says how long the file is"
            start = have if answer.status_code == 206 else 0
            if answer.status_code == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                return "the server sent another range than was asked for"
            _write(answer, part, start, size, progress)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        return f"the connection failed ({type(error).__name__})"
    return "the server closed the connection"


def _refuse_missing(url: str, answer: requests.Response) -> None:
    """Say at once what asking again does not change."""
    if 400 <= answer.status_code < 500 and answer.status_code not in (408, 416, 429):
        raise PriorbenchError(f"{url}: answers {answer.status_code} {answer.reason}; is the address right?")


def _offered(answer: requests.Response) -> int | None:
    """Bytes that the whole file has according to the server, where it says so."""
    if answer.status_code in (206, 416):
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        total = answer.headers.get("Content-Length", "") if answer.status_code == 200 else ""
    return int(total) if total.isdecimal() else None


def _write(answer: requests.Response, part: Path, start: int, size: int, progress: Progress | None) -> None:
    """Write the body behind the first ``start`` bytes; more than one byte beyond ``size`` is never kept."""
    with part.open("ab" if start else "wb") as file:
        while chunk := answer.raw.read1(CHUNK):  # what has come, unlike iter_content, which loses it at a cut
            file.write(chunk[: size + 1 - file.tell()])
            if progress is not None:
                progress(file.tell(), size)
            if file.tell() > size:
                return


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
