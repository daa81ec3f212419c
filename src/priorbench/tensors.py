"""Named arrays with JSON metadata in one safetensors file: memory-mapped, never a pickle, the same bytes every time."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from priorbench.errors import PriorbenchError, reason
from priorbench.io import atomic_path, from_json

Arrays = dict[str, NDArray[Any]]
#: By name: kinds of numpy ("iu") or one type ("f8"), and the shape, in which a letter is any length, always the same.
Layout = Mapping[str, tuple[str, tuple[int | str, ...]]]
_DIGEST = "metadata_sha256"
_DTYPES = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4"} | {
    "U64": "<u8",
    "I64": "<i8",
    "F32": "<f4",
    "F64": "<f8",
}
_WRITTEN = {np.dtype(kind).str for kind in _DTYPES.values()}


def write_tensors(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write ``arrays`` and ``metadata`` to ``path`` atomically.

    The metadata is one JSON string under one key, because safetensors does not keep the order of several.
    """
    text = _text(metadata)
    text = _text({**metadata, _DIGEST: hashlib.sha256(text.encode()).hexdigest()})
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}  # keeps 0-d arrays 0-d
    with atomic_path(path) as temporary:
        # Not by the library's own writing to a file: killed at it, a temporary file of a name of its own would stay.
        temporary.write_bytes(save(contiguous, metadata={"priorbench": text}))


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
        if header[name]["dtype"] not in _DTYPES:
            raise PriorbenchError(f"{path}: {name} is of a type that is never written; delete it and run again")
        dtype, start = np.dtype(_DTYPES[header[name]["dtype"]]), 8 + length + header[name]["data_offsets"][0]
        empty = 0 in shape
        arrays[name] = np.zeros(shape, dtype) if empty else np.memmap(path, dtype, "r", start, shape)
    return arrays, metadata


def read_tensors(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read what :func:`write_tensors` wrote; a missing, cut or foreign file is a :class:`PriorbenchError`."""
    with _opened(path) as file:
        arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        for name, array in arrays.items():
            if array.dtype.str not in _WRITTEN:
                raise PriorbenchError(f"{path}: {name} is of a type that is never written; delete it and run again")
        return arrays, _metadata(path, file)


def misfit(arrays: Mapping[str, Any], layout: Layout) -> str | None:
    """What is wrong with the first of ``arrays`` that is not as ``layout`` says; None where all are."""
    lengths: dict[str, int] = {}
    for name, (kinds, shape) in layout.items():
        array = arrays[name]
        if not isinstance(array, np.ndarray):
            return f"{name} is no array"
        as_wanted = array.dtype.kind in kinds if kinds.isalpha() else array.dtype.str[1:] == kinds
        if not as_wanted or array.ndim != len(shape):
            return f"{name} is {array.dtype}{list(array.shape)}"
        for wanted, found in zip(shape, array.shape, strict=True):
            letter, _, more = str(wanted).partition("+")
            length = wanted if isinstance(wanted, int) else lengths.setdefault(letter, found - int(more or 0))
            if found != length + int(more or 0):
                return f"{name} has the shape {list(array.shape)}"
    return None


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise PriorbenchError(f"{path}: no such file; run the rule that makes it first")
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except PriorbenchError:
        raise
    except Exception as error:  # its parser raises whatever it meets
        raise PriorbenchError(
            f"{path}: damaged or not a safetensors file ({reason(error)}); delete it and run again"
        ) from None


def _metadata(path: Path, file: Any) -> dict[str, Any]:
    metadata = file.metadata() or {}
    if "priorbench" not in metadata:
        raise PriorbenchError(f"{path}: not written by priorbench (no metadata)")
    try:
        content = from_json(metadata["priorbench"])
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise PriorbenchError(f"{path}: its metadata are damaged; delete it and run again")
    # Files of earlier versions have no digest.
    digest = content.pop(_DIGEST, None)
    if digest is not None and digest != hashlib.sha256(_text(content).encode()).hexdigest():
        raise PriorbenchError(f"{path}: its metadata do not match their checksum; delete it and run again")
    return content


def _text(metadata: Mapping[str, Any]) -> str:
    return json.dumps(metadata, sort_keys=True, allow_nan=False)
