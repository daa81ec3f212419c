"""Files of arrays: damaged ones are refused in one line, and what a writer that is killed can leave is known."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from priorbench.errors import PriorbenchError
from priorbench.io import remove_leftovers
from priorbench.tensors import map_tensors, misfit, read_tensors, write_tensors


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "a.safetensors", {"a": np.arange(6.0)}, {"scale": 0.75})
    return tmp_path / "a.safetensors"


def rewrite(path: Path, old: str, new: str) -> None:
    content = path.read_bytes()
    assert content.count(old.encode()) == 1
    assert len(old) == len(new)
    path.write_bytes(content.replace(old.encode(), new.encode()))


@pytest.mark.parametrize("read", [read_tensors, map_tensors])
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("0.75", "0.35", "metadata do not match their checksum"),
        ("0.75", "x.75", "metadata are damaged"),
        ('"F64","shape":[6]', '"BF16","shape":[24]', "of a type that is never written"),
    ],
)
def test_an_altered_header_is_refused(path: Path, read, old: str, new: str, reason: str) -> None:
    if len(old) != len(new):
        header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
        header["a"] |= {"dtype": "BF16", "shape": [24]}
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + np.arange(6.0).tobytes())
    else:
        rewrite(path, old, new)
    with pytest.raises(PriorbenchError, match=f"{reason}|damaged or not a safetensors file"):
        read(path)


def test_a_file_of_an_earlier_version_without_the_checksum_is_read(path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.arange(6.0)}, path, metadata={"priorbench": '{"scale": 0.5}'})
    assert read_tensors(path)[1] == map_tensors(path)[1] == {"scale": 0.5}


def test_a_layout_says_which_array_does_not_fit() -> None:
    layout = {"x": ("f", ("A", 3)), "offsets": ("i8", ("S+1",)), "n": ("iu", ("A",))}
    arrays = {"x": np.zeros((2, 3)), "offsets": np.zeros(4, int), "n": np.zeros(2, int)}
    assert misfit(arrays, layout) is None
    assert misfit({**arrays, "n": np.zeros(3, int)}, layout) == "n has the shape [3]"
    assert misfit({**arrays, "x": np.zeros((2, 3), int)}, layout) == "x is int64[2, 3]"
    assert misfit({**arrays, "offsets": np.zeros(4, np.int32)}, layout) == "offsets is int32[4]"
    assert misfit({**arrays, "x": b"x"}, layout) == "x is no array"


def test_what_a_killed_writer_can_leave_is_known(tmp_path: Path) -> None:
    """Every name that appears while a file is written is one that ``remove_leftovers`` removes."""
    path, seen = tmp_path / "frames.safetensors", set()
    child = os.fork()
    if not child:
        write_tensors(path, {"positions": np.zeros(4_000_000)}, {})
        os._exit(0)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        seen |= set(os.listdir(tmp_path))
    partial = seen - {path.name}
    assert partial
    for name in partial:
        (tmp_path / name).touch()
    remove_leftovers(path)
    assert os.listdir(tmp_path) == [path.name]
