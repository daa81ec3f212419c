"""A disk that is full, a folder that can only be read, files that were cut: a clear line, then a full recovery."""

import contextlib
import csv
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from priorbench.analysis.style import new_figure, save
from priorbench.errors import PriorbenchError
from priorbench.io import atomic_path, read_rows
from tests.faults.layer import faults
from tests.faults.stages import Stage, run, simulated, stages, written


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A small file system of its own at ``folder``; its owner may not write where it is read-only, root neither."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
    if done is None or done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip() if done else 'not root'}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def named(name: str, analysed: Path = Path()) -> Stage:
    return next(stage for stage in stages(analysed) if stage.name == name)


@pytest.mark.parametrize("name", ["finetune", "convert"])
def test_a_full_disk_is_one_line_and_no_loss(name: str, tmp_path: Path) -> None:
    stage, small = named(name), tmp_path / "small"
    small.mkdir()
    stage.prepare(small)
    assert run(stage, small) == (0, "")
    whole = written(small)
    shutil.rmtree(small)
    with mounted(small, "size=4m"):
        stage.prepare(small)
        (small / "out").mkdir()
        ballast = small / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
        for free in (0, 8192):  # nothing at all; enough for the first of the files
            os.truncate(ballast, ballast.stat().st_size - free)
            code, said = run(stage, small)
            assert (code, said.count("\n")) == (1, 1), said
            assert said.startswith(f"priorbench {name}: {small}/out")
            assert said.endswith("No space left on device; the disk is full: free some space and run again\n")
            left = written(small).items()
            assert all(content == whole.get(file, content) for file, content in left)
            assert not [path for path in (small / "out").iterdir() if path.name.startswith(".")]
        ballast.unlink()
        assert run(stage, small) == (0, "")
        assert written(small) == whole


@pytest.mark.parametrize("name", ["finetune", "split"])
def test_a_folder_that_can_only_be_read_is_one_line(name: str, tmp_path: Path) -> None:
    stage = named(name)
    stage.prepare(tmp_path)
    with mounted(tmp_path / "out", "size=1m", "ro"):
        code, said = run(stage, tmp_path)
        assert (code, said.count("\n")) == (1, 1), said
        assert said.startswith(f"priorbench {name}: {tmp_path}/out")
        assert "Read-only file system; it can only be read there: choose another folder" in said


def test_an_error_within_a_write_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as error, atomic_path(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert error.value.filename == str(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError) as missing, atomic_path(tmp_path / "a.txt"):
        (tmp_path / "other").read_text()  # what goes wrong with another file is said of that one
    assert missing.value.filename == str(tmp_path / "other")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("kept"))


def collected(root: Path, folder: Path) -> str:
    """What `priorbench collect` says of the runs."""
    code, said = run(named("collect", root), folder)
    assert code == bool(said)
    assert not said or not (folder / "out").exists()
    return said


def some_run(root: Path) -> Path:
    return sorted((root / "runs").rglob("scratch/seed1"))[0]


def cut_in_a_line(content: bytes) -> bytes:
    return content[:-5]


def cut_between_lines(content: bytes) -> bytes:
    return content[: content.rstrip().rindex(b"\n") + 1]


def without_a_column(content: bytes) -> bytes:
    rows = [line.split(b",") for line in content.splitlines()]
    return b"".join(b",".join(row[:-1]) + b"\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("metrics.csv", cut_in_a_line, "cut short in its last line; run it again"),
        ("metrics.csv", lambda c: c[: c.rindex(b",")] + b"\n", "row 5 has not 10 values; run it again"),
        ("metrics.csv", cut_between_lines, "not one row for each of the epochs 0 to 4; run it again"),
        ("metrics.csv", without_a_column, "no column 'structures_per_s'; it was made by another version"),
        ("metrics.csv", lambda c: b"", "cut short"),
        ("run.json", lambda c: c[: len(c) // 2], "not readable as JSON"),
        ("run.json", lambda c: c.replace(b'"0.1.0"', b'"0.2.0"'), "were run by different versions"),
        ("run.json", lambda c: c.replace(b'"final_checksum"', b'"final"'), "no field 'final_checksum'; it was made by"),
        ("test.json", lambda c: c[:-20], "not readable as JSON"),
        ("test.json", lambda c: c.replace(b'"force_mae"', b'"force_mad"', 1), "no field 'force_mae'"),
    ],
)
def test_what_was_cut_or_made_by_another_version_reaches_no_table(
    name: str, damage: Any, message: str, kept: Path, tmp_path: Path
) -> None:
    path = some_run(kept) / name
    whole = path.read_bytes()
    try:
        path.write_bytes(damage(whole))
        assert path.read_bytes() != whole
        said = collected(kept, tmp_path)
    finally:
        path.write_bytes(whole)
    assert said.count("\n") == 1
    assert message in said
    assert collected(kept, tmp_path) == ""


@pytest.mark.parametrize("name", ["runs.csv", "curves.csv"])
def test_a_table_that_was_cut_is_refused(name: str, kept: Path, tmp_path: Path) -> None:
    path = kept / name
    whole = path.read_bytes()
    try:
        path.write_bytes(cut_in_a_line(whole))
        code, said = run(named("statistics", kept), tmp_path)
    finally:
        path.write_bytes(whole)
    assert (code, said.count("\n")) == (1, 1)
    assert f"{path}: cut short in its last line; run `priorbench collect`" in said


def test_a_row_with_too_few_values_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(PriorbenchError, match="row 2 has not 2 values; mend it"):
        read_rows(path, "mend it")
    with path.open("a", newline="") as file:
        csv.writer(file).writerow([1, 2, 3])
    path.write_text(path.read_text().replace("3\n", "3,4\n", 1))
    with pytest.raises(PriorbenchError, match="row 3 has not 2 values"):
        read_rows(path, "mend it")


def test_a_weights_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    stage = named("export")
    stage.prepare(tmp_path)
    path = tmp_path / "trained/model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    code, said = run(stage, tmp_path)
    assert (code, said.count("\n")) == (1, 1)
    assert "damaged or not a safetensors file" in said


def test_a_figure_that_cannot_be_written_is_said_to_be_so(tmp_path: Path) -> None:
    """Where a PDF cannot be begun, matplotlib hides that behind an AttributeError of its own."""
    figure = new_figure(1, 1)
    figure.add_subplot().plot(np.random.default_rng(0).random(3000))  # more than is kept before it is written
    with faults(tmp_path, 0, errno.EIO) as found:
        save(figure, tmp_path / "figure")
    assert found.count >= 8
    quiet = 0
    for at in range(1, found.count + 1):
        with faults(tmp_path, at, errno.EIO), contextlib.suppress(OSError):
            save(figure, tmp_path / "figure")
            quiet += 1
        assert {path.name for path in tmp_path.iterdir()} <= {"figure.pdf", "figure.png"}
    assert quiet <= found.count / 2  # a mode that cannot be set and the like
