"""Pins: what was seen first is what is used ever after, whoever asks and however many ask at once."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from priorbench.datasets import transfer
from priorbench.datasets.pins import Pin, add_pin, fetch_pinned, lock_path, locked, pinned, progress_lines, read_pins
from priorbench.errors import PriorbenchError

CONTENT = np.random.default_rng(0).bytes(200_000)
PIN = Pin(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    content = CONTENT
    asked = 0
    status = 206
    cut = len(CONTENT)  # bytes after which a connection is closed

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/x.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        time.sleep(0.05)  # so that two downloads would overlap
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        content = self.server.content
        if self.server.status >= 400:
            self.send_error(self.server.status)
            return
        self.send_response(self.server.status)
        self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(transfer, "PAUSE", 0.001)
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIORBENCH_LOCK", str(tmp_path / "lock" / "data.lock.json"))
    monkeypatch.setenv("PRIORBENCH_CACHE", str(tmp_path / "cache"))


def stated() -> tuple[int, str]:
    return len(CONTENT), MD5


def never() -> tuple[int, str]:
    raise AssertionError("the publisher was asked")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_lock_file_is_in_the_current_directory_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRIORBENCH_LOCK")
    assert lock_path() == Path("data.lock.json")


def test_pins_are_kept_sorted_and_readable(tmp_path: Path) -> None:
    assert read_pins() == {}
    assert pinned("https://b") is None
    add_pin("https://b", PIN)
    add_pin("https://a", Pin(1, "0" * 64))
    add_pin("https://b", PIN)
    assert pinned("https://b") == PIN
    text = lock_path().read_text()
    assert list(json.loads(text)) == ["https://a", "https://b"]
    assert text.count("\n") > 6
    assert files(tmp_path) == ["lock/data.lock.json"]
    with pytest.raises(PriorbenchError, match=r"https://b: has 1 bytes .* pinned in .*data\.lock\.json"):
        add_pin("https://b", Pin(1, "0" * 64))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "\x00",
        '{"u": 1}',
        '{"u": {"size": 1}}',
        '{"u": {"size": "1", "sha256": "' + "0" * 64 + '"}}',
        '{"u": {"size": -1, "sha256": "' + "0" * 64 + '"}}',
        '{"u": {"size": 1, "sha256": "abc"}}',
        '{"u": {"size": true, "sha256": "' + "0" * 64 + '"}}',
    ],
)
def test_a_damaged_lock_file_is_refused_in_one_line_and_left_alone(text: str) -> None:
    lock_path().parent.mkdir()
    lock_path().write_text(text)
    for use in (read_pins, lambda: add_pin("https://a", PIN)):
        with pytest.raises(PriorbenchError, match=r"data\.lock\.json: damaged lock file \(.*restore") as refusal:
            use()
        assert "\n" not in str(refusal.value)
    assert lock_path().read_text() == text


def test_a_lock_file_that_cannot_be_read_or_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock_path().mkdir(parents=True)
    with pytest.raises(PriorbenchError, match="cannot be read"):
        read_pins()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PRIORBENCH_LOCK", str(tmp_path / "file" / "data.lock.json"))
    with pytest.raises(PriorbenchError, match=r"cannot be written .* PRIORBENCH_LOCK"):
        add_pin("https://a", PIN)


def in_processes(scripts: list[str]) -> list[str]:
    """What each of several Python programs, running at once, prints last."""
    jobs = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for script in scripts]
    outputs = [job.communicate(timeout=60)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * len(jobs)
    return [output.splitlines()[-1] if output else "" for output in outputs]


def test_jobs_that_pin_at_once_lose_nothing(tmp_path: Path) -> None:
    script = "from priorbench.datasets.pins import Pin, add_pin\nfor n in range(10): add_pin(f'https://{}/{{n}}', {!r})"
    in_processes([script.format(which, PIN) for which in range(4)])
    assert len(read_pins()) == 40
    assert files(tmp_path) == ["lock/data.lock.json"]


def test_one_at_a_time_holds_a_lock(tmp_path: Path) -> None:
    inside, most = [], []

    def work() -> None:
        for _ in range(20):
            with locked(tmp_path / "x"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 120
    assert files(tmp_path) == []


@pytest.mark.parametrize("first", [stated, None])
def test_a_first_download_is_pinned_and_then_taken_from_the_cache(
    server: Server, tmp_path: Path, first: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fetch_pinned(server.url, "set/x.bin", None, first)  # type: ignore[arg-type]
    assert path.read_bytes() == CONTENT
    assert read_pins() == {server.url: PIN}
    said = capsys.readouterr().out
    assert ("as its publisher states (md5:" in said) == (first is stated)
    assert ("taken on trust" in said) == (first is None)
    server.content = b"other"
    assert fetch_pinned(server.url, "set/x.bin", None, never) == path
    assert server.asked == (1 if first else 2)
    assert files(tmp_path) == ["cache/set/x.bin", "lock/data.lock.json"]


def test_with_a_pin_the_publisher_is_not_asked(server: Server) -> None:
    add_pin(server.url, PIN)
    assert fetch_pinned(server.url, "set/x.bin", None, never).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"\0", CONTENT[:-1], CONTENT + b"\0"])
def test_what_changed_upstream_after_pinning_is_refused(server: Server, tmp_path: Path, content: bytes) -> None:
    add_pin(server.url, PIN)
    server.content = content
    with pytest.raises(PriorbenchError, match=r"upstream; 200000 bytes are pinned in .*<mirror>/set/x\.bin") as refusal:
        fetch_pinned(server.url, "set/x.bin", None, never)
    assert "\n" not in str(refusal.value)
    assert files(tmp_path) == ["lock/data.lock.json"]


def test_a_mirrors_copy_is_pinned_on_trust_and_verified_from_then_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "mirror" / "set" / "x.bin"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(CONTENT)
    assert fetch_pinned("https://u", "set/x.bin", tmp_path / "mirror") == copy
    said = capsys.readouterr().out
    assert "taken on trust at first sight; pinned in" in said
    assert PIN.sha256 in said
    assert fetch_pinned("https://u", "set/x.bin", tmp_path / "mirror", never) == copy
    assert capsys.readouterr().out == ""
    copy.write_bytes(CONTENT[:-1])
    with pytest.raises(PriorbenchError, match=r"mirror/set/x\.bin: has 199999 bytes .* replace it from https://u"):
        fetch_pinned("https://u", "set/x.bin", tmp_path / "mirror", never)
    with pytest.raises(PriorbenchError, match="mirror: no folder"):
        fetch_pinned("https://u", "set/x.bin", tmp_path / "nowhere", never)


@pytest.mark.parametrize("place", ["mirror", "cache"])
def test_a_copy_that_is_not_what_its_publisher_states_is_refused_and_not_pinned(tmp_path: Path, place: str) -> None:
    # It was pinned on trust, and the genuine file refused from then on.
    copy = tmp_path / place / "set" / "x.bin"
    copy.parent.mkdir(parents=True)
    mirror = tmp_path / "mirror" if place == "mirror" else None
    for content in (CONTENT[:-1], CONTENT[:-1] + b"\0"):
        copy.write_bytes(content)
        with pytest.raises(PriorbenchError, match=r"x\.bin: has \d+ bytes and the md5:.* its publisher states 200000"):
            fetch_pinned("https://u", "set/x.bin", mirror, stated)
    assert read_pins() == {}
    copy.write_bytes(CONTENT)
    assert fetch_pinned("https://u", "set/x.bin", mirror, stated) == copy
    assert read_pins() == {"https://u": PIN}


def test_where_the_publisher_cannot_be_asked_the_content_decides(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable() -> tuple[int, str]:
        raise PriorbenchError("the publisher is away")

    def check(path: Path) -> None:
        if path.read_bytes() != CONTENT:
            raise PriorbenchError("useless")

    server.content = CONTENT[:-1] + b"\0"
    with pytest.raises(PriorbenchError, match="useless"):
        fetch_pinned(server.url, "set/x.bin", None, unreachable, check)
    server.content = CONTENT
    assert fetch_pinned(server.url, "set/x.bin", None, unreachable, check).read_bytes() == CONTENT
    assert "taken by its content alone, for the publisher is away" in capsys.readouterr().out
    assert read_pins() == {server.url: PIN}


def test_a_lock_file_that_cannot_be_written_is_said_before_the_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PRIORBENCH_LOCK", str(tmp_path / "file" / "data.lock.json"))
    with pytest.raises(PriorbenchError, match=r"cannot be written; name a writable one in PRIORBENCH_LOCK$"):
        fetch_pinned(server.url, "set/x.bin", None, stated)
    assert server.asked == 0


def test_an_altered_cache_is_refused(server: Server) -> None:
    path = fetch_pinned(server.url, "set/x.bin", None, stated)
    path.write_bytes(b"altered")
    with pytest.raises(PriorbenchError, match=r"x\.bin: has 7 bytes .* delete it and run again"):
        fetch_pinned(server.url, "set/x.bin", None, stated)


@pytest.mark.parametrize("first", [stated, None])
def test_what_fails_the_check_at_first_sight_is_neither_pinned_nor_kept(
    server: Server, tmp_path: Path, first: object
) -> None:
    def check(_: Path) -> None:
        raise PriorbenchError("useless")

    with pytest.raises(PriorbenchError, match="useless; or put the file at <mirror>"):
        fetch_pinned(server.url, "set/x.bin", None, first, check)  # type: ignore[arg-type]
    assert files(tmp_path) == []


def test_an_unreachable_server_names_the_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAUSE", 0.001)
    for first in (stated, None):
        with pytest.raises(PriorbenchError, match=r"127\.0\.0\.1:9/x.*<mirror>/set/x.*PRIORBENCH_MIRROR"):
            fetch_pinned("http://127.0.0.1:9/x", "set/x", None, first)
    assert files(tmp_path) == []


def test_an_unseen_file_that_is_cut_or_not_there_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.cut = 0
    monkeypatch.setattr(transfer, "ATTEMPTS", 2)
    with pytest.raises(
        PriorbenchError, match=r"x\.bin: .*run again to continue from there; or put the file at <mirror>"
    ):
        fetch_pinned(server.url, "set/x.bin", None)
    (tmp_path / "cache" / "set" / "x.bin.part").unlink()
    server.status = 404
    with pytest.raises(PriorbenchError, match=r"x\.bin: answers 404 Not Found"):
        fetch_pinned(server.url, "set/x.bin", None)
    assert files(tmp_path) == []


def test_jobs_that_want_the_same_file_download_it_once(server: Server, tmp_path: Path) -> None:
    script = f"""
import hashlib
from priorbench.datasets.pins import fetch_pinned
path = fetch_pinned({server.url!r}, "set/x.bin", None, lambda: ({PIN.size}, {MD5!r}))
print(hashlib.sha256(path.read_bytes()).hexdigest())
"""
    assert in_processes([script] * 3) == [PIN.sha256] * 3
    assert server.asked == 1
    assert files(tmp_path) == ["cache/set/x.bin", "lock/data.lock.json"]


def test_progress_is_a_line_every_twentieth(capsys: pytest.CaptureFixture[str]) -> None:
    report = progress_lines("x")
    for done in range(500, 1001):  # the first half was there
        report(done, 1000)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("x: 1000 of 1000 bytes (100 %), ")
    assert lines[-1].endswith(" MB/s")
