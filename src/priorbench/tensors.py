"""Named arrays with JSON metadata in one safetensors file: memory-mapped, never a pickle, the same bytes every time."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from priorbench.errors import PriorbenchError
from priorbench.io import atomic_path

Arrays = dict[str, NDArray[Any]]
_DTYPES = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4"} | {
    "U64": "<u8",
    "I64": "<i8",
    "F32": "<f4",
    "F64": "<f8",
}


def write_tensors(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write ``arrays`` and ``metadata`` to ``path`` atomically.

    The metadata is one JSON string under one key, because safetensors does not keep the order of several.
    """
    text = json.dumps(metadata, sort_keys=True, allow_nan=False)
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}  # keeps 0-d arrays 0-d
    with atomic_path(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata={"priorbench": text})
        except SafetensorError as error:  # a full disk arrives as text: "… (os error 28)"
            found = re.search(r"\(os error (\d+)\)", str(error))
            if found is None:
                raise
            raise OSError(int(found[1]), os.strerror(int(found[1]))) from None


def map_tensors(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """As :func:`read_tensors`, but the arrays are read-only maps of the file: only what is used is read."""
    with _opened(path) as file:
        metadata = _metadata(path, file)
        expected = {name: file.get_slice(name) for name in sorted(file.keys())}
        shapes = {name: tuple(part.get_shape()) for name, part in expected.items()}
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    arrays: Arrays = {}
    for name, shape in shapes.items():
        dtype, start = np.dtype(_DTYPES[header[name]["dtype"]]), 8 + length + header[name]["data_offsets"][0]
        empty = 0 in shape
        arrays[name] = np.zeros(shape, dtype) if empty else np.memmap(path, dtype, "r", start, shape)
    return arrays, metadata


def read_tensors(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read what :func:`write_tensors` wrote; a missing, cut or foreign file is a :class:`PriorbenchError`."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in sorted(file.keys())}, _metadata(path, file)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise PriorbenchError(f"{path}: no such file; run the rule that makes it first")
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        raise PriorbenchError(f"{path}: damaged or not a safetensors file ({error}); delete it and run again") from None


def _metadata(path: Path, file: Any) -> dict[str, Any]:
    metadata = file.metadata() or {}
    if "priorbench" not in metadata:
        raise PriorbenchError(f"{path}: not written by priorbench (no metadata)")
    content: dict[str, Any] = json.loads(metadata["priorbench"])
    return content
