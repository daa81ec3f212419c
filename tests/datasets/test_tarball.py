"""One member comes out of an archive, byte for byte; a hostile or damaged archive leaves nothing behind."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from priorbench.datasets.tarball import unpack_member
from priorbench.errors import PriorbenchError

WANTED = "training-data_H2O/input.data.RPBE_D3"
CONTENT = np.random.default_rng(0).bytes(200_000)  # cannot be compressed: a cut file lacks some of it


def entry(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def archive_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return archive_of(
        tmp_path / "data.tar.gz",
        (entry("training-data_H2O", kind=tarfile.DIRTYPE), b""),
        (entry("training-data_H2O/input.data.BLYP", 4), b"BLYP"),
        (entry(WANTED, len(CONTENT)), CONTENT),
        (entry("../outside", 4), b"evil"),
    )


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out" / "input.data"


def test_only_the_wanted_member_is_written(archive: Path, output: Path, tmp_path: Path) -> None:
    unpack_member(archive, WANTED, output)
    assert output.read_bytes() == CONTENT
    assert sorted(tmp_path.rglob("*")) == sorted([archive, output.parent, output])
    assert not (tmp_path.parent / "outside").exists()


def test_a_name_that_points_outside_is_only_a_name(archive: Path, output: Path) -> None:
    unpack_member(archive, "../outside", output)
    assert output.read_bytes() == b"evil"


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.6, 0.9])
def test_a_cut_archive_is_refused_and_leaves_nothing(archive: Path, output: Path, share: float) -> None:
    archive.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size)])
    with pytest.raises(PriorbenchError, match=r"data\.tar\.gz: damaged or cut short"):
        unpack_member(archive, WANTED, output)
    assert not any(output.parent.glob("*"))


def test_altered_bytes_are_refused_and_leave_nothing(archive: Path, output: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[:20] = b"<html>not found</htm"
    archive.write_bytes(content)
    with pytest.raises(PriorbenchError, match=r"damaged or cut short"):
        unpack_member(archive, WANTED, output)
    assert not any(output.parent.glob("*"))


def test_a_bomb_is_refused_and_leaves_nothing(tmp_path: Path, output: Path) -> None:
    zeros = 5_000_000
    bomb = archive_of(tmp_path / "bomb.tar.gz", (entry("zeros", zeros), bytes(zeros)), (entry(WANTED, 4), b"data"))
    with pytest.raises(PriorbenchError, match=r"unpacks to more than 1000000 bytes"):
        unpack_member(bomb, WANTED, output, largest=1_000_000)
    assert not any(output.parent.glob("*"))


def test_a_sparse_member_which_is_larger_than_it_says_is_refused(tmp_path: Path, output: Path) -> None:
    # 139 bytes of archive wrote five gigabytes.
    hollow = tarfile.TarInfo(WANTED)
    hollow.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(hollow.tobuf(tarfile.GNU_FORMAT))
    header[386:398] = b"%011o " % 0  # one region: at 0, of no bytes
    header[398:410] = b"%011o " % 0
    header[483:495] = b"%011o " % (5 * 1024**3)
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "sparse.tar.gz"
    path.write_bytes(gzip.compress(bytes(header) + bytes(1024)))
    with pytest.raises(PriorbenchError, match=r"is not a regular file"):
        unpack_member(path, WANTED, output)
    assert not any(output.parent.glob("*"))


def test_names_of_megabytes_are_refused(tmp_path: Path, output: Path) -> None:
    path = tmp_path / "long.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = entry(WANTED, 4)
        info.pax_headers = {"comment": "x" * 3_000_000}
        archive.addfile(info, io.BytesIO(b"data"))
    with pytest.raises(PriorbenchError, match=r"damaged or cut short \(a header of 300\d+ bytes\)"):
        unpack_member(path, WANTED, output)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_regular_file_is_refused(tmp_path: Path, output: Path, kind: bytes) -> None:
    hostile = archive_of(tmp_path / "hostile.tar.gz", (entry(WANTED, kind=kind, link="/etc/passwd"), b""))
    with pytest.raises(PriorbenchError, match=r"is not a regular file"):
        unpack_member(hostile, WANTED, output)
    assert not any(output.parent.glob("*"))


def test_a_member_that_is_missing_is_named_with_what_is_there(archive: Path, output: Path) -> None:
    with pytest.raises(PriorbenchError, match=r"holds no 'training-data_H2O/input\.data\.PBE'; it holds .*BLYP"):
        unpack_member(archive, "training-data_H2O/input.data.PBE", output)


def test_what_was_there_before_a_failure_stays(archive: Path, output: Path) -> None:
    output.parent.mkdir()
    output.write_bytes(b"before")
    with pytest.raises(PriorbenchError):
        unpack_member(archive, "nothing", output)
    assert output.read_bytes() == b"before"


def test_an_archive_that_is_not_there_is_named(tmp_path: Path, output: Path) -> None:
    with pytest.raises(PriorbenchError, match=r"gone\.tar\.gz: no such archive"):
        unpack_member(tmp_path / "gone.tar.gz", WANTED, output)
