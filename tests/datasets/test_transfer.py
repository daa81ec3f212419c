"""A download against a local server that cuts, ignores, fails and lies."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from priorbench.datasets import transfer
from priorbench.datasets.transfer import download
from priorbench.errors import PriorbenchError

CONTENT = np.random.default_rng(0).bytes(100_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    content = CONTENT
    cut = len(CONTENT)  # bytes after which every connection is closed
    lengths = True  # whether it says how long the file is
    ranges = True  # whether the server honours them
    statuses: list[int]  # answered first, one a request
    asked: list[str | None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/data.tar.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers["Range"])
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        content, start = self.server.content, int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if self.server.ranges and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        if not self.server.ranges:
            start = 0
        self.send_response(206 if self.server.ranges else 200)
        if self.server.ranges:
            total = len(content) if self.server.lengths else "*"
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{total}")
        if self.server.lengths:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(transfer, "PAUSE", 0.001)
    with Server(("127.0.0.1", 0), Handler) as running:
        running.statuses, running.asked = [], []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "data.tar.gz"


def refused(server: Server, target: Path, reason: str, size: int = len(CONTENT), checksum: str = SHA256) -> None:
    with pytest.raises(PriorbenchError, match=reason) as refusal:
        download(server.url, target, size, checksum)
    assert server.url in str(refusal.value)
    assert not target.exists()


def test_a_file_arrives_whole_and_alone(server: Server, target: Path) -> None:
    download(server.url, target, len(CONTENT), SHA256)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_a_connection_cut_again_and_again_is_continued_where_it_was_cut(server: Server, target: Path) -> None:
    server.cut = 9_000
    download(server.url, target, len(CONTENT), SHA256)
    assert target.read_bytes() == CONTENT
    assert server.asked == [f"bytes={start}-" for start in range(0, len(CONTENT), 9_000)]


def test_a_later_call_continues_what_an_earlier_one_left(server: Server, target: Path) -> None:
    server.statuses = [503] * transfer.ATTEMPTS
    target.parent.mkdir()
    part = target.with_name("data.tar.gz.part")
    part.write_bytes(CONTENT[:60_000])
    refused(server, target, r"the server answered 503 after 60000 of 100000 bytes; run again")
    assert part.read_bytes() == CONTENT[:60_000]
    download(server.url, target, len(CONTENT), SHA256)
    assert target.read_bytes() == CONTENT
    assert set(server.asked) == {"bytes=60000-"}


@pytest.mark.parametrize("stale", [bytes(60_000), bytes(120_000)])
def test_what_an_earlier_call_left_of_another_file_costs_no_failure(server: Server, target: Path, stale: bytes) -> None:
    target.parent.mkdir()
    target.with_name("data.tar.gz.part").write_bytes(stale)
    download(server.url, target, len(CONTENT), SHA256)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) <= 2


def test_a_server_that_begins_anew_and_gets_no_further_is_given_up(server: Server, target: Path) -> None:
    # Cut now later, now earlier, it made progress for ever.
    server.ranges, cuts = False, iter([50_000, 25_000] * 40)

    class Cutting(Handler):
        def do_GET(self) -> None:
            self.server.cut = next(cuts)
            super().do_GET()

    server.RequestHandlerClass = Cutting
    refused(server, target, r"after \d+ of 100000 bytes; run again")
    assert len(server.asked) <= transfer.ATTEMPTS + 2


def test_a_page_instead_of_the_file_does_not_cost_what_has_come(server: Server, target: Path) -> None:
    target.parent.mkdir()
    part = target.with_name("data.tar.gz.part")
    part.write_bytes(CONTENT[:60_000])
    server.content, server.ranges = b"<html>come back later</html>", False
    refused(server, target, "has 28 bytes, not the 100000 expected")
    assert part.read_bytes() == CONTENT[:60_000]
    server.content, server.ranges = CONTENT, True
    download(server.url, target, len(CONTENT), SHA256)
    assert server.asked[-1] == "bytes=60000-"


def test_a_range_that_was_not_asked_for_is_not_taken(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(Handler):
        def send_header(self, name: str, value: str) -> None:
            super().send_header(name, value.replace("bytes 0-", "bytes 7-") if name == "Content-Range" else value)

    server.RequestHandlerClass = Wrong
    refused(server, target, "another range than was asked for after 0 of 100000")


def test_the_size_is_that_of_the_server_or_an_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert transfer.stated_size(server.url) == len(CONTENT)
    server.statuses = [503, 429]
    assert transfer.stated_size(server.url) == len(CONTENT)
    server.statuses = [404] * 9
    with pytest.raises(PriorbenchError, match="answers 404 Not Found"):
        transfer.stated_size(server.url)
    server.statuses, server.lengths, server.ranges = [], False, False
    with pytest.raises(PriorbenchError, match="states no length"):
        transfer.stated_size(server.url)


def test_a_server_without_ranges_starts_again(server: Server, target: Path) -> None:
    server.ranges = False
    target.parent.mkdir()
    target.with_name("data.tar.gz.part").write_bytes(CONTENT[:60_000])
    download(server.url, target, len(CONTENT), SHA256)
    assert target.read_bytes() == CONTENT


def test_passing_failures_are_tried_again(server: Server, target: Path) -> None:
    server.statuses = [503, 500, 429]
    download(server.url, target, len(CONTENT), SHA256)
    assert target.read_bytes() == CONTENT


def test_a_file_that_is_not_there_is_said_at_once(server: Server, target: Path) -> None:
    server.statuses = [404] * 9
    refused(server, target, r"answers 404 Not Found")
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_said(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAUSE", 0.001)
    with pytest.raises(PriorbenchError, match=r"127\.0\.0\.1:9/x: the connection failed \(ConnectionError\)"):
        download("http://127.0.0.1:9/x", target, 1, SHA256)


def test_a_wrong_checksum_leaves_nothing(server: Server, target: Path) -> None:
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    refused(server, target, r"has the sha256:[0-9a-f]{64}, not sha256:")
    assert not any(target.parent.iterdir())


def test_a_page_without_a_length_does_not_cost_what_has_come(server: Server, target: Path) -> None:
    target.parent.mkdir()
    part = target.with_name("data.tar.gz.part")
    part.write_bytes(CONTENT[:60_000])
    server.content, server.ranges, server.lengths = b"<html>log in</html>", False, False
    refused(server, target, "neither continues nor says how long the file is after 60000 of 100000 bytes")
    assert part.read_bytes() == CONTENT[:60_000]


@pytest.mark.parametrize("said", [True, False])
def test_a_longer_file_is_refused_and_leaves_nothing(server: Server, target: Path, said: bool) -> None:
    server.content, server.lengths, server.cut = CONTENT + bytes(3_000_000), said, 4_000_000
    refused(server, target, r"has (3100000|more than the 100000) bytes")
    assert not any(target.parent.iterdir())


@pytest.mark.parametrize("said", [True, False])
def test_a_shorter_file_is_refused_before_long(server: Server, target: Path, said: bool) -> None:
    server.content, server.lengths = CONTENT[:-1], said
    refused(server, target, r"has 99999 bytes, not the 100000 expected")
    assert not target.with_name("data.tar.gz.part").exists()
    assert len(server.asked) <= 2


def test_progress_ends_at_the_size(server: Server, target: Path) -> None:
    server.cut, seen = 30_000, []
    download(server.url, target, len(CONTENT), SHA256, lambda done, size: seen.append((done, size)))
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
