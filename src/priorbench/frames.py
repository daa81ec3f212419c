"""The one dataset type on disk and in memory: labelled structures as flat arrays.

Shapes: S structures, A atoms and B bonds over all structures.  Units: Å, eV, eV/Å.  ``offsets[s]:offsets[s + 1]``
are the atoms of structure ``s``.  Structures with the same ``groups`` value are not independent (one trajectory, the
beads of one path-integral frame) and never meet in two splits, unless the source itself says who is on which side.
``molecules`` numbers the intact molecules of each structure from 0, atoms of none have −1; ``bonds`` are covalent (see
:mod:`priorbench.molecules`).
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError
from priorbench.io import sha256_json
from priorbench.tensors import Arrays, Layout, map_tensors, misfit, write_tensors

NEITHER, TRAIN, TEST = 0, 1, 2
LAYOUT: Layout = {
    "positions": ("f8", ("A", 3)),
    "forces": ("f8", ("A", 3)),
    "energies": ("f8", ("S",)),
    "cells": ("f8", ("S", 3, 3)),
    "pbc": ("b1", ("S", 3)),
    "atomic_numbers": ("i2", ("A",)),
    "offsets": ("i8", ("S+1",)),
    "groups": ("i4", ("S",)),
    "subsystems": ("i2", ("S",)),
    "official": ("i1", ("S",)),
    "molecules": ("i4", ("A",)),
    "bonds": ("i4", ("B", 2)),
    "bond_offsets": ("i8", ("S+1",)),
}


@dataclass(frozen=True)
class Frames:
    """Labelled structures; see the module's docstring for shapes and units."""

    positions: NDArray[np.float64]  # (A, 3) Å, as the source gives them (wrapped or not)
    forces: NDArray[np.float64]  # (A, 3) eV/Å
    energies: NDArray[np.float64]  # (S,) eV
    cells: NDArray[np.float64]  # (S, 3, 3) Å, rows are the cell vectors
    pbc: NDArray[np.bool_]  # (S, 3)
    atomic_numbers: NDArray[np.int16]  # (A,)
    offsets: NDArray[np.int64]  # (S + 1,)
    groups: NDArray[np.int32]  # (S,)
    subsystems: NDArray[np.int16]  # (S,) index into metadata["subsystems"]
    official: NDArray[np.int8]  # (S,) side the source itself assigns: TRAIN, TEST or neither
    molecules: NDArray[np.int32]  # (A,)
    bonds: NDArray[np.int32]  # (B, 2) atoms counted within their structure, the smaller first
    bond_offsets: NDArray[np.int64]  # (S + 1,)
    metadata: dict[str, Any] = field(default_factory=dict)  # source, licence, subsystems, provenance

    def __len__(self) -> int:
        return len(self.energies)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Atoms in each structure, (S,)."""
        return np.diff(self.offsets)

    def atoms_of(self, structure: int) -> slice:
        """The slice of the atom arrays that belongs to ``structure``."""
        return slice(int(self.offsets[structure]), int(self.offsets[structure + 1]))

    def arrays(self) -> Arrays:
        """The arrays by name, without the metadata."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "metadata"}

    def hash(self) -> str:
        """SHA-256 over the content of every array, hexadecimal."""
        import hashlib

        digests = {
            name: [str(a.dtype), list(a.shape), hashlib.sha256(np.ascontiguousarray(a).data).hexdigest()]
            for name, a in self.arrays().items()
        }
        return sha256_json(digests)

    def validate(self, where: str) -> None:
        """Raise :class:`PriorbenchError` naming ``where`` and the first structure that cannot be trained on."""
        if (wrong := misfit(self.arrays(), LAYOUT)) is not None:
            raise PriorbenchError(f"{where}: its arrays do not fit each other ({wrong}); the file is damaged")
        if len(self) == 0:
            raise PriorbenchError(f"{where}: no structure is left after reading; check the source and its filters")
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.positions) or (self.sizes <= 0).any():
            raise PriorbenchError(f"{where}: the structure offsets do not cover the atoms; the file is damaged")
        owner = np.repeat(np.arange(len(self)), self.sizes)
        checks = [
            ("an energy", ~np.isfinite(self.energies)),
            ("a cell", ~np.isfinite(self.cells).all(axis=(1, 2))),
            ("a position", _any_by_structure(~np.isfinite(self.positions).all(axis=1), owner, len(self))),
            ("a force", _any_by_structure(~np.isfinite(self.forces).all(axis=1), owner, len(self))),
        ]
        for quantity, bad in checks:
            if bad.any():
                raise PriorbenchError(
                    f"{where}: structure {int(bad.argmax())} has {quantity} that is missing or not finite; "
                    "mend or remove it in the source"
                )
        outside = _any_by_structure((self.atomic_numbers < 1) | (self.atomic_numbers > 118), owner, len(self))
        if outside.any():
            raise PriorbenchError(
                f"{where}: structure {int(outside.argmax())} has an element outside the periodic table"
            )
        self._check_numbering(where)
        flat = self.pbc.any(axis=1) & (volume_of_periodic(self.cells, self.pbc) < 1e-6)
        if flat.any():
            raise PriorbenchError(f"{where}: structure {int(flat.argmax())} is periodic in a cell of zero volume")

    def _check_numbering(self, where: str) -> None:
        """Groups, sides, molecules and bonds count what is there."""
        starts, counts = self.bond_offsets[:-1], np.diff(self.bond_offsets)
        covered = starts[0] == 0 and self.bond_offsets[-1] == len(self.bonds) and (counts >= 0).all()
        checks = {
            "groups": (self.groups >= 0).all(),
            "subsystems": (self.subsystems >= 0).all(),
            "official sides": np.isin(self.official, (NEITHER, TRAIN, TEST)).all(),
            "molecules": (self.molecules >= -1).all(),
            "bonds": covered
            and (self.bonds >= 0).all()
            and (self.bonds[:, 0] < self.bonds[:, 1]).all()
            and (self.bonds[:, 1] < np.repeat(self.sizes, counts)).all(),
        }
        for what, right in checks.items():
            if not right:
                raise PriorbenchError(f"{where}: its {what} are not those of its structures; the file is damaged")

    def save(self, path: Path) -> None:
        """Write to a safetensors file, metadata with the content hash included."""
        self.validate(str(path))
        write_tensors(path, self.arrays(), {**self.metadata, "hash": self.hash()})

    @classmethod
    def load(cls, path: Path, verify: bool = False) -> "Frames":
        """Map a file written by :meth:`save`; with ``verify`` the content hash is computed and compared."""
        arrays, metadata = map_tensors(path)
        expected = {f.name for f in fields(cls)} - {"metadata"}
        if set(arrays) != expected:
            raise PriorbenchError(f"{path}: not a frames file (arrays {sorted(arrays)})")
        frames = cls(**arrays, metadata=metadata)
        if verify and frames.hash() != metadata.get("hash"):
            raise PriorbenchError(f"{path}: content does not match its hash; delete it and run again")
        if "hash" not in metadata or (wrong := misfit(arrays, LAYOUT)) is not None:
            reason = "no hash" if "hash" not in metadata else wrong
            raise PriorbenchError(f"{path}: not a frames file ({reason}); delete it and run again")
        return frames


def items_of(offsets: NDArray[np.int64], structures: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of the atoms (or edges) of several structures, one after the other, from their ``offsets`` (S + 1,)."""
    starts, counts = offsets[structures], np.diff(offsets)[structures]
    ends = np.cumsum(counts)
    return np.asarray(np.arange(counts.sum()) + np.repeat(starts - ends + counts, counts), np.int64)


def _any_by_structure(bad: Any, owner: NDArray[Any], count: int) -> NDArray[np.bool_]:
    return np.bincount(owner[bad], minlength=count) > 0


def volume_of_periodic(cells: NDArray[np.float64], pbc: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Length, area or volume that the periodic cell vectors span, (S,)."""
    gram = np.einsum("sik,sjk->sij", cells, cells)
    both = pbc[:, :, None] & pbc[:, None, :]
    return np.asarray(np.sqrt(np.maximum(np.linalg.det(np.where(both, gram, np.eye(3))), 0.0)))
