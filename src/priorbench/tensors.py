"""Named arrays with JSON metadata in one safetensors file: memory-mapped, never a pickle, the same bytes every time."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from priorbench.errors import PriorbenchError
from priorbench.io import atomic_path

Arrays = dict[str, NDArray[Any]]


def write_tensors(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write ``arrays`` and ``metadata`` to ``path`` atomically.

    The metadata is one JSON string under one key, because safetensors does not keep the order of several.
    """
    text = json.dumps(metadata, sort_keys=True, allow_nan=False)
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}  # keeps 0-d arrays 0-d
    with atomic_path(path) as temporary:
        save_file(contiguous, temporary, metadata={"priorbench": text})


def read_tensors(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read what :func:`write_tensors` wrote; a missing, cut or foreign file is a :class:`PriorbenchError`."""
    if not path.is_file():
        raise PriorbenchError(f"{path}: no such file; run the rule that makes it first")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError, ValueError) as error:
        raise PriorbenchError(f"{path}: damaged or not a safetensors file ({error}); delete it and run again") from None
    if "priorbench" not in metadata:
        raise PriorbenchError(f"{path}: not written by priorbench (no metadata)")
    return arrays, json.loads(metadata["priorbench"])
