"""Acquired parts on disk: .npz archives that are whole or absent and never hold a pickle."""

import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError, reason
from priorbench.io import atomic_path
from priorbench.tensors import Arrays, Layout, misfit

LARGEST = 16 * 1024**3  # bytes that a part may unpack to; the ten trajectories of the paper have 37 MB each
MOST_PACKED = 100  # times its own size that an archive may unpack to; coordinates do not reach three
TEXT = ("U", ())  # of a layout
STRUCTURES: Layout = {  # S of A atoms in all, as a Block holds them
    "positions": ("f", ("A", 3)),
    "forces": ("f", ("A", 3)),
    "energies": ("f", ("S",)),
    "cells": ("f", ("S", 3, 3)),
    "pbc": ("b", ("S", 3)),
    "atomic_numbers": ("i", ("A",)),
    "offsets": ("i", ("S+1",)),
}
SMALL = 1 << 24  # bytes, which are no burden however they were packed


def write_npz(path: Path, **arrays: NDArray[Any]) -> None:
    """Write ``arrays`` to ``path`` atomically; the same arrays give the same bytes."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes the names for allow_pickle


def read_npz(path: Path, names: Iterable[str] | Layout) -> Arrays:
    """Read the arrays called ``names``; a missing, cut or foreign file is a :class:`PriorbenchError`.

    Of a layout, types and shapes are those that it says, or refused.
    """
    try:
        # np.load leaves a file open that it cannot read, so it is opened here.
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as content:
                unpacked = sum(entry.file_size for entry in content.infolist())
            if unpacked > min(LARGEST, max(SMALL, MOST_PACKED * path.stat().st_size)):
                raise PriorbenchError(f"{path}: unpacks to {unpacked} bytes; it is not the file expected")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in names}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray) or array.size > unpacked:  # of no width is any number
                raise PriorbenchError(f"{path}: {name} is no array of numbers or text; delete it and run again")
            if array.dtype.kind == "U" and (array.reshape(-1).view("u4") > sys.maxunicode).any():
                raise PriorbenchError(f"{path}: {name} is no text; delete it and run again")
        if isinstance(names, Mapping) and (wrong := misfit(arrays, names)) is not None:
            raise PriorbenchError(f"{path}: its arrays do not fit each other ({wrong}); delete it and run again")
        return arrays
    except FileNotFoundError:
        raise PriorbenchError(f"{path}: no such file; run the rule that acquires it first") from None
    except PriorbenchError:
        raise
    except Exception as error:  # zipfile, zlib and numpy's parser of headers raise whatever they meet
        raise PriorbenchError(
            f"{path}: damaged or not an acquired part ({reason(error)}); delete it and run again"
        ) from None


def read_npy(path: Path) -> NDArray[Any]:
    """Read one array that is no pickle; a damaged or foreign file is a :class:`PriorbenchError`."""
    try:
        with path.open("rb") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            return array
    except FileNotFoundError:
        raise PriorbenchError(f"{path}: no such file; fetch it first") from None
    except Exception as error:  # numpy's parser of headers raises whatever it meets
        raise PriorbenchError(f"{path}: damaged or no array ({reason(error)}); delete it and fetch it again") from None


def write_part(path: Path, part: str, **arrays: NDArray[Any]) -> None:
    """Write ``arrays`` to ``path`` as :func:`write_npz` does, together with the name of the ``part`` that they are."""
    write_npz(path, **arrays, part=np.array(part))


def read_part(path: Path, part: str, names: Iterable[str] | Layout) -> Arrays:
    """Read what :func:`write_part` wrote; a file of another part is a :class:`PriorbenchError`."""
    arrays = read_npz(path, {**names, "part": TEXT} if isinstance(names, Mapping) else (*names, "part"))
    found = arrays.pop("part")
    if misfit({"part": found}, {"part": TEXT}) is not None or str(found) != part:
        raise PriorbenchError(f"{path}: holds {' '.join(str(found)[:40].split())}, not {part}; delete it and run again")
    return arrays
