"""Files come from the mirror or the net, and never with another content than the pinned one."""

import gc
import hashlib
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from priorbench.datasets import download
from priorbench.datasets.download import fetch
from priorbench.errors import PriorbenchError

CONTENT = b"oxygen hydrogen hydrogen\n" * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
RELATIVE = "set/water/coord.npy"
NOWHERE = "http://127.0.0.1:9/coord.npy"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None: ...


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PRIORBENCH_CACHE", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0.001)
    yield folder
    # pooch leaves a refused response open; collect it here, not under a later test that would be blamed.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    copy = tmp_path / "mirror" / RELATIVE
    copy.parent.mkdir(parents=True)
    copy.write_bytes(CONTENT)
    return tmp_path / "mirror"


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """URL of a served file and its path."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "coord.npy").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/coord.npy", folder / "coord.npy"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_mirror_is_used_before_any_download(mirror: Path) -> None:
    assert fetch(NOWHERE, SHA256, RELATIVE, mirror) == mirror / RELATIVE


@pytest.mark.parametrize("content", [CONTENT[:-7], CONTENT.replace(b"oxygen", b"Oxygen", 1), b""])
def test_an_altered_or_truncated_mirror_file_is_refused(mirror: Path, content: bytes) -> None:
    (mirror / RELATIVE).write_bytes(content)
    with pytest.raises(PriorbenchError, match="altered or cut short") as refusal:
        fetch(NOWHERE, SHA256, RELATIVE, mirror)
    assert str(mirror / RELATIVE) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_mirror_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(PriorbenchError, match=r"no folder .*nowhere"):
        fetch(NOWHERE, SHA256, RELATIVE, tmp_path / "nowhere")


def test_a_file_that_the_mirror_lacks_is_downloaded_once(upstream: tuple[str, Path], mirror: Path, cache: Path) -> None:
    url, served = upstream
    (mirror / RELATIVE).unlink()
    assert fetch(url, SHA256, RELATIVE, mirror) == cache / RELATIVE
    served.unlink()
    assert fetch(url, SHA256, RELATIVE, None).read_bytes() == CONTENT


def test_an_altered_download_is_refused_and_not_kept(upstream: tuple[str, Path], cache: Path) -> None:
    url, served = upstream
    served.write_bytes(CONTENT[:100])
    with pytest.raises(PriorbenchError, match="altered or cut short"):
        fetch(url, SHA256, RELATIVE, None)
    assert not (cache / RELATIVE).exists()


@pytest.mark.parametrize("missing", ["host", "file"])
def test_a_failed_download_names_the_mirror_in_one_line(upstream: tuple[str, Path], cache: Path, missing: str) -> None:
    url = NOWHERE if missing == "host" else upstream[0] + ".gone"
    with pytest.raises(PriorbenchError, match=r"`mirror` or PRIORBENCH_MIRROR") as refusal:
        fetch(url, SHA256, RELATIVE, None)
    assert "\n" not in str(refusal.value)
    assert not (cache / RELATIVE).exists()


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(tmp_path: Path, cache: Path) -> None:
    # One 503 failed the job.
    statuses: list[int] = []

    class Busy(Quiet):
        def do_GET(self) -> None:
            if statuses:
                self.send_error(statuses.pop(0))
            else:
                super().do_GET()

    (tmp_path / "coord.npy").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Busy, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/coord.npy"
    statuses += [404, 200]
    with pytest.raises(PriorbenchError, match="answers 404"):
        fetch(url, SHA256, RELATIVE, None)
    assert statuses == [200]
    statuses[:] = [503, 429]
    assert fetch(url, SHA256, RELATIVE, None) == cache / RELATIVE
    server.shutdown()
    server.server_close()
    thread.join()
