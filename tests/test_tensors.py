"""Files of arrays: what a writer that is killed can leave behind."""

import os
from pathlib import Path

import numpy as np

from priorbench.io import remove_leftovers
from priorbench.tensors import write_tensors


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
