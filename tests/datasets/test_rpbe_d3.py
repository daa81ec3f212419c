"""The paper's DFT set from archive to frames: a small archive of the same layout behind a server that misbehaves.

The full set is not tested here, because few machines can reach it: its content check is, and a genuine part of it.
"""

import hashlib
import io
import json
import os
import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import water_box

from priorbench.datasets import rpbe_d3, transfer
from priorbench.datasets.archive import read_npz
from priorbench.datasets.blocks import all_intact
from priorbench.datasets.pins import Pin, add_pin, read_pins
from priorbench.datasets.rpbe_d3 import RPBED3, RPBED3Options
from priorbench.datasets.runner import BOHR, HARTREE
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames

FUNCTIONALS = ["RPBE_D3", "RPBE", "BLYP_D3", "BLYP"]
SEEDS = {functional: seed for seed, functional in enumerate(FUNCTIONALS)}
COUNT = 14  # structures in each file; the last is a copy of the one before it
PUBLISHED = rpbe_d3.EXPECTED
FIGURES = {"RPBE_D3": {"structures": COUNT, "atoms": COUNT * 24}}


def structures(functional: str) -> dict[str, np.ndarray]:
    """Boxes of 8 molecules in Å, eV and eV/Å; (F, 24, 3), (F,), (F, 3, 3)."""
    random = np.random.default_rng(SEEDS[functional])
    boxes = [water_box(random, wrapped=False) for _ in range(COUNT)]
    boxes[-1] = boxes[-2]
    return {
        "positions": np.stack([box[0] for box in boxes]),
        "cells": np.stack([box[1] for box in boxes]),
        "forces": random.normal(0, 1.0, (COUNT, 24, 3)),
        "energies": random.normal(-2083.4 * 8, 0.6, COUNT),
    }


def runner_text(functional: str) -> str:
    arrays, lines = structures(functional), []
    for s in range(COUNT):
        lines += ["begin", f"comment {functional}"]
        lines += ["lattice " + " ".join(f"{x:.9f}" for x in row) for row in arrays["cells"][s] / BOHR]
        for x, f, element in zip(
            arrays["positions"][s] / BOHR, arrays["forces"][s] * BOHR / HARTREE, "OHH" * 8, strict=True
        ):
            place, force = (" ".join(f"{value:.9f}" for value in vector) for vector in (x, f))
            lines.append(f"atom {place} {element} 0.0 0.0 {force}")
        lines += [f"energy {arrays['energies'][s] / HARTREE:.9f}", "charge 0.0", "end"]
    return "\n".join(lines) + "\n"


def archive_of(members: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        folder = tarfile.TarInfo("training-data_H2O")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, text in members.items():
            entry = tarfile.TarInfo(f"training-data_H2O/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return content.getvalue()


CONTENT = archive_of({f"input.data.{functional}": runner_text(functional) for functional in FUNCTIONALS})


class Server(ThreadingHTTPServer):
    content = CONTENT
    cut = 10**9  # bytes after which a connection is closed
    status = 206
    api_statuses: list[int]  # answered first by the record's API, one a request
    stated: dict[str, Any]  # in the record, instead of the truth
    asked: list[str]

    def record(self) -> dict[str, Any]:
        md5 = hashlib.md5(CONTENT).hexdigest()
        entry = {"key": rpbe_d3.ARCHIVE, "size": len(CONTENT), "checksum": f"md5:{md5}", **self.stated}
        return {"id": 2634098, "files": [{"key": "README", "size": 1, "checksum": "md5:0"}, entry]}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        if self.path == "/api/records/2634098":
            server.asked.append("api")
            self._record()
            return
        assert self.path == f"/record/2634098/files/{rpbe_d3.ARCHIVE}?download=1"
        server.asked.append(self.headers["Range"])
        if server.status >= 400:
            self.send_error(server.status)
            return
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start : start + server.cut])

    def _record(self) -> None:
        if self.server.api_statuses:
            self.send_error(self.server.api_statuses.pop(0))
            return
        body = json.dumps(self.server.record()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIORBENCH_LOCK", str(tmp_path / "data.lock.json"))
    monkeypatch.setenv("PRIORBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(rpbe_d3, "EXPECTED", FIGURES)
    monkeypatch.setattr(rpbe_d3, "PAUSE", 0.001)
    monkeypatch.setattr(transfer, "PAUSE", 0.001)
    monkeypatch.setattr(rpbe_d3, "URL", f"http://127.0.0.1:9/{rpbe_d3.ARCHIVE}?download=1")  # nothing answers there
    monkeypatch.setattr(rpbe_d3, "API", "http://127.0.0.1:9/api/records/2634098")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.api_statuses, running.stated, running.asked = [], {}, []
        base = f"http://127.0.0.1:{running.server_address[1]}"
        monkeypatch.setattr(rpbe_d3, "URL", f"{base}/record/2634098/files/{rpbe_d3.ARCHIVE}?download=1")
        monkeypatch.setattr(rpbe_d3, "API", f"{base}/api/records/2634098")
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def acquired(folder: Path, functional: str = "RPBE_D3", mirror: Path | None = None) -> Path:
    path = folder / "parts" / f"{functional}.npz"
    RPBED3(RPBED3Options(functional=functional)).acquire(functional, mirror, path)
    return path


def converted(path: Path, **options: Any) -> Frames:
    return RPBED3(RPBED3Options(functional=path.stem, **options)).convert({path.stem: path})


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refused(folder: Path, reason: str, left: list[str], mirror: Path | None = None) -> None:
    with pytest.raises(PriorbenchError, match=reason) as refusal:
        acquired(folder, mirror=mirror)
    assert "\n" not in str(refusal.value)
    assert files(folder) == left


def mirrored(folder: Path, content: bytes) -> Path:
    path = folder / "mirror" / "rpbe_d3" / rpbe_d3.ARCHIVE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return folder / "mirror"


CACHED, PINNED = f"cache/rpbe_d3/{rpbe_d3.ARCHIVE}", "data.lock.json"


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_each_functional_from_download_to_frames(server: Server, tmp_path: Path, functional: str) -> None:
    path = acquired(tmp_path, functional)
    assert files(tmp_path) == sorted([CACHED, PINNED, f"parts/{functional}.npz"])
    frames, truth = converted(path), structures(functional)
    np.testing.assert_allclose(frames.positions, truth["positions"].reshape(-1, 3), atol=1e-8)
    np.testing.assert_allclose(frames.forces, truth["forces"].reshape(-1, 3), atol=1e-7)
    np.testing.assert_allclose(frames.energies, truth["energies"], atol=1e-7)
    np.testing.assert_allclose(frames.cells, truth["cells"], atol=1e-8)
    assert frames.pbc.all()
    assert frames.atomic_numbers.tolist() == [8, 1, 1] * 8 * COUNT
    assert all_intact(frames).all()
    assert frames.groups[-1] == frames.groups[-2]
    assert len(np.unique(frames.groups)) == COUNT - 1
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert frames.metadata["sha256"] == {rpbe_d3.ARCHIVE: sha256}
    assert frames.metadata["subsystems"] == [functional]
    assert read_pins() == {rpbe_d3.URL: Pin(len(CONTENT), sha256)}


def test_a_part_keeps_the_units_of_the_file(server: Server, tmp_path: Path) -> None:
    raw = read_npz(acquired(tmp_path), rpbe_d3.ARRAYS)
    np.testing.assert_allclose(raw["energies"] * HARTREE, structures("RPBE_D3")["energies"], atol=1e-7)
    np.testing.assert_allclose(raw["cells"] * BOHR, structures("RPBE_D3")["cells"], atol=1e-7)


def test_cut_connections_are_continued_and_progress_is_printed(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.cut = len(CONTENT) // 7
    acquired(tmp_path)
    assert server.asked == ["api", *(f"bytes={start}-" for start in range(0, len(CONTENT), server.cut))]
    assert f"{rpbe_d3.ARCHIVE}: {len(CONTENT)} of {len(CONTENT)} bytes (100 %)" in capsys.readouterr().out


def test_a_download_that_is_given_up_leaves_what_a_later_one_continues(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = len(CONTENT) // 2
    monkeypatch.setattr(transfer, "ATTEMPTS", 0)
    (tmp_path / "cache" / "rpbe_d3").mkdir(parents=True)
    (tmp_path / f"{CACHED}.part").write_bytes(CONTENT[:half])
    refused(tmp_path, rf"after {half} of {len(CONTENT)} bytes; run again", [f"{CACHED}.part"])
    monkeypatch.setattr(transfer, "ATTEMPTS", 2)
    acquired(tmp_path)
    assert server.asked[-1] == f"bytes={half}-"
    assert files(tmp_path) == sorted([CACHED, PINNED, "parts/RPBE_D3.npz"])


def test_a_second_functional_needs_no_second_download(server: Server, tmp_path: Path) -> None:
    acquired(tmp_path, "RPBE")
    server.status = 404
    acquired(tmp_path, "BLYP")
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"size": len(CONTENT) + 1}, rf"has {len(CONTENT)} bytes, not the {len(CONTENT) + 1} expected"),
        ({"size": len(CONTENT) - 1}, rf"has {len(CONTENT)} bytes, not the {len(CONTENT) - 1} expected"),
        ({"checksum": "md5:" + "0" * 32}, r"has the md5:[0-9a-f]{32}, not md5:0{32}"),
    ],
)
def test_a_record_that_does_not_fit_the_file_is_refused(
    server: Server, tmp_path: Path, stated: dict[str, Any], reason: str
) -> None:
    server.stated = stated
    refused(tmp_path, rf"{reason}.*<mirror>/rpbe_d3/training-data_H2O\.tar\.gz.*PRIORBENCH_MIRROR", [])


def test_a_file_that_is_gone_is_said(server: Server, tmp_path: Path) -> None:
    server.status = 404
    refused(tmp_path, r"download=1: answers 404 Not Found.*<mirror>/rpbe_d3", [])


def test_a_busy_record_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.api_statuses = [503, 429]
    acquired(tmp_path)
    assert server.asked[:3] == ["api"] * 3


@pytest.mark.parametrize(
    "stated", [{"checksum": "0" * 32}, {"checksum": None}, {"size": "big"}, {"key": "other.tar.gz"}, None]
)
def test_without_a_usable_record_the_content_decides(
    server: Server, tmp_path: Path, stated: dict[str, Any] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    server.stated = stated or {}
    server.api_statuses = [503] * 9 if stated is None else []
    acquired(tmp_path)
    reason = "states no usable size" if stated else r"cannot be asked .*503"
    assert re.search(rf"taken by its content alone, for .*api/records/2634098: {reason}", capsys.readouterr().out)


def test_without_a_usable_record_other_content_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.api_statuses = [404]
    monkeypatch.setattr(rpbe_d3, "EXPECTED", {"RPBE_D3": {"structures": COUNT + 1}})
    refused(tmp_path, r"is not the published set \(structures 14 instead of 15\)", [])


def test_without_network_the_way_out_is_named(tmp_path: Path) -> None:
    refused(tmp_path, r"127\.0\.0\.1:9/.*the connection failed .*PRIORBENCH_MIRROR", [])


def test_a_mirror_that_is_not_the_published_set_is_not_pinned(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pinned on trust and refused later, it stood in the way of the genuine file.
    mirror = mirrored(tmp_path, archive_of({"input.data.BLYP": runner_text("BLYP")}))
    with pytest.raises(PriorbenchError, match="its publisher states"):
        acquired(tmp_path, "BLYP", mirror)
    server.api_statuses = [503] * 3
    monkeypatch.setattr(rpbe_d3, "EXPECTED", {"BLYP": {"structures": COUNT + 1}})
    with pytest.raises(PriorbenchError, match="is not the published set"):
        acquired(tmp_path, "BLYP", mirror)
    assert read_pins() == {}


def test_with_a_pin_the_record_is_not_needed(server: Server, tmp_path: Path) -> None:
    server.api_statuses = [503] * 9
    add_pin(rpbe_d3.URL, Pin(len(CONTENT), hashlib.sha256(CONTENT).hexdigest()))
    assert len(converted(acquired(tmp_path))) == COUNT
    assert server.asked == ["bytes=0-"]


@pytest.mark.parametrize("longer", [True, False])
def test_an_archive_that_changed_after_it_was_pinned_is_refused(server: Server, tmp_path: Path, longer: bool) -> None:
    add_pin(rpbe_d3.URL, Pin(len(CONTENT), hashlib.sha256(CONTENT).hexdigest()))
    server.content = CONTENT + b"\0" if longer else CONTENT[:-1] + b"\1"
    refused(tmp_path, rf"upstream; {len(CONTENT)} bytes are pinned in .*data\.lock\.json", [PINNED])


def test_an_archive_without_the_functional_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = archive_of({"input.data.PBE": "", "README": ""})
    server.content = other
    server.stated = {"size": len(other), "checksum": "md5:" + hashlib.md5(other).hexdigest()}
    refused(tmp_path, r"holds no 'training-data_H2O/input\.data\.RPBE_D3'; it holds .*PBE", [])


def test_only_the_wanted_member_is_unpacked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def looking(lines: Any, where: str) -> Any:
        seen.extend(files(tmp_path))
        return read(lines, where)

    read = rpbe_d3.read_runner
    monkeypatch.setattr(rpbe_d3, "read_runner", looking)
    acquired(tmp_path, "BLYP")
    (unpacked,) = {name for name in seen if name not in (CACHED, PINNED) and not name.endswith(".lock")}
    assert unpacked.startswith("parts/.BLYP-")
    assert unpacked.endswith("/input.data")


def test_a_file_that_cannot_be_trusted_leaves_nothing(tmp_path: Path) -> None:
    copy = f"mirror/rpbe_d3/{rpbe_d3.ARCHIVE}"
    text = runner_text("RPBE_D3").replace("lattice", "lattice x", 1)
    mirror = mirrored(tmp_path, archive_of({"input.data.RPBE_D3": text}))
    refused(tmp_path, r"tar\.gz: training-data_H2O/input\.data\.RPBE_D3: structure 0, line 3", [copy], mirror)


def test_a_damaged_mirror_is_refused_and_not_pinned(tmp_path: Path) -> None:
    copy = f"mirror/rpbe_d3/{rpbe_d3.ARCHIVE}"
    refused(tmp_path, r"damaged or cut short", [copy], mirrored(tmp_path, CONTENT[: len(CONTENT) // 8]))
    mirrored(tmp_path, CONTENT)
    assert len(converted(acquired(tmp_path, mirror=tmp_path / "mirror"))) == COUNT


def test_a_mirror_that_differs_from_the_pin_is_refused(server: Server, tmp_path: Path) -> None:
    acquired(tmp_path)
    mirror = mirrored(tmp_path, archive_of({"input.data.RPBE_D3": runner_text("RPBE_D3")}))
    with pytest.raises(PriorbenchError, match=r"mirror/rpbe_d3/.* pinned in .*data\.lock\.json"):
        acquired(tmp_path, mirror=mirror)


def test_content_that_is_not_the_published_set_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = acquired(tmp_path, mirror=mirrored(tmp_path, CONTENT))
    monkeypatch.setattr(rpbe_d3, "EXPECTED", PUBLISHED)
    with pytest.raises(PriorbenchError, match=r"structures 14 instead of 7241, atoms 336 instead of 588648, std\(F\)"):
        converted(path)
    monkeypatch.setattr(rpbe_d3, "EXPECTED", {"RPBE_D3": {"std(E/atom) meV": np.nan}})
    with pytest.raises(PriorbenchError, match="not the published set"):
        converted(path)


def test_filters_take_whole_groups_and_refuse_to_leave_nothing(tmp_path: Path) -> None:
    path = acquired(tmp_path, mirror=mirrored(tmp_path, CONTENT))
    frames = converted(path, max_structures=9, intact_only=True)
    assert 7 < len(frames) <= 9
    assert sorted(set(frames.groups)) == list(range(frames.groups.max() + 1))
    torn = {name: array.copy() for name, array in read_npz(path, (*rpbe_d3.ARRAYS, "sha256")).items()}
    torn["positions"][1::24] += 2.0 / BOHR  # one hydrogen of every structure
    np.savez(path, **torn)
    with pytest.raises(PriorbenchError, match="no structure is left; raise max_structures"):
        converted(path, intact_only=True, max_structures=9)


@pytest.mark.skipif("PRIORBENCH_MIRROR" not in os.environ, reason="PRIORBENCH_MIRROR is not set")
def test_a_genuine_part_of_the_set_has_its_published_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = Path(os.environ["PRIORBENCH_MIRROR"]) / "rpbe_d3_sample" / "input.data"
    mirror = mirrored(tmp_path, archive_of({"input.data.RPBE_D3": sample.read_text()}))
    figures = {"structures": 20, "atoms": 11 * 48 + 2 * 96 + 7 * 192, "std(F) eV/Å": 1.376}
    monkeypatch.setattr(rpbe_d3, "EXPECTED", {"RPBE_D3": figures})
    frames = converted(acquired(tmp_path, mirror=mirror))
    assert round(float((frames.energies / (frames.sizes / 3)).mean()), 3) == -2083.402
    assert (np.bincount(frames.sizes)[[48, 96, 192]] == [11, 2, 7]).all()
    first = np.repeat(frames.offsets[:-1], np.diff(frames.bond_offsets))[:, None]
    vectors = np.diff(frames.positions[frames.bonds + first], axis=1)
    print(f"structures intact {all_intact(frames).sum()} of 20, atoms {(frames.molecules >= 0).mean():.4f}")
    print(f"bonds across the cell {(np.linalg.norm(vectors, axis=2) > 3).sum()}, groups {frames.groups.max() + 1}")
    assert (np.linalg.norm(vectors, axis=2) > 3).any()  # split across the cell
    assert (frames.molecules >= 0).mean() > 0.95


def test_the_default_is_the_functional_of_the_paper() -> None:
    assert RPBED3(RPBED3Options()).parts() == ["RPBE_D3"]
    with pytest.raises(ValueError, match="validation error"):
        RPBED3Options(functional="PBE")
