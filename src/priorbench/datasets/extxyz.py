"""Your own structures: any extended XYZ file that ASE reads, with energies and forces.

Atoms may be in any order and wrapped or not, the cell of any shape, periodic in any directions, and structures of any
sizes may be mixed.  The one part holds what was read in Å, eV and eV/Å.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from priorbench.config import Strict
from priorbench.datasets.archive import STRUCTURES, TEXT, read_npz, write_npz
from priorbench.datasets.extxyz_file import labels, read_structures, refuse
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.io import sha256_file
from priorbench.tensors import Layout

if TYPE_CHECKING:
    from ase import Atoms

    from priorbench.datasets.blocks import Block

ARRAYS: Layout = {**STRUCTURES, "keys": ("U", ("S",)), "names": ("U", (2,)), "sha256": TEXT}
SUFFIXES = (".xyz", ".extxyz")
LengthUnit = Literal["Å", "Bohr", "nm"]
EnergyUnit = Literal["eV", "Hartree", "kcal/mol", "kJ/mol"]


class ExtXYZOptions(Strict):
    """Which file, and what in it means what."""

    path: str = Field(min_length=1, description="the file, .xyz or .extxyz; relative to the current folder")
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="hash that the file must have; null: not checked"
    )
    energy_key: str | None = Field(
        None,
        description="name of the energy; null: the first of ASE's and other usual names that all structures have; "
        "several kinds of labels in one file are refused until one is named",
    )
    forces_key: str | None = Field(None, description="name of the forces; null: likewise")
    length_unit: LengthUnit = Field("Å", description="unit of positions and cells")
    energy_unit: EnergyUnit = Field("eV", description="unit of energies; forces are in it by the unit of length")
    group_key: str | None = Field(
        None, description="key of the frames whose equal values make one group (a trajectory, a source)"
    )
    block: int | Literal["auto"] | None = Field(
        None,
        description="consecutive structures are one trajectory, cut into groups of so many; auto: longer than the "
        "force autocorrelation time; null: groups by group_key, or near-duplicates are one group",
    )
    distance: float = Field(
        0.02,
        ge=0,
        description="Å, root mean square over all atoms: structures nearer than this are near-duplicates, one group "
        "where neither group_key nor block is given, and too near for two sides of a split",
    )
    check_units: bool = Field(True, description="refuse what physical ranges tell is in other units")
    description: str = Field("your own structures", description="for the data card")
    licence: str = Field("not stated", description="for the data card")
    citation: str = Field("not stated", description="for the data card")

    @model_validator(mode="after")
    def _one_kind_of_groups(self) -> Self:
        if self.group_key is not None and self.block is not None:
            raise ValueError("group_key and block exclude each other; leave one out")
        if isinstance(self.block, int) and self.block < 1:
            raise ValueError(f"block: {self.block} structures make no group; give at least 1, or auto")
        return self


class ExtXYZ:
    """Source of a user's own structures; see the module's docstring."""

    Options: ClassVar[type[Strict]] = ExtXYZOptions

    def __init__(self, options: ExtXYZOptions) -> None:
        self.options = options

    def parts(self) -> list[str]:
        """One part."""
        return ["structures"]

    def files(self) -> list[Path]:
        """The file: when it changes, everything made from it is made again."""
        return [Path(self.options.path)]

    def options_of(self, part: str) -> Strict:
        """All but how structures are grouped and described later."""
        later = ("block", "distance", "description", "licence", "citation")
        return ExtXYZOptions(**{key: v for key, v in self.options.model_dump().items() if key not in later})

    def acquire(self, part: str, mirror: Path | None, output: Path) -> None:
        """Read the file, refuse what cannot be trained on, and write the rest, in Å, eV and eV/Å, to ``output``."""
        from priorbench.datasets.blocks import check

        path = Path(self.options.path)
        sha256 = self._verified(path)
        arrays = self._arrays(path)
        check(self._block(arrays), self.options.check_units)
        write_npz(output, **arrays, sha256=np.array(sha256))

    def convert(self, parts: dict[str, Path]) -> Frames:
        """Frames in the order of the file, with groups as the options say."""
        from priorbench.datasets.blocks import assemble
        from priorbench.datasets.validity import check_block

        arrays = read_npz(parts["structures"], ARRAYS)
        block = self._block(arrays)
        check_block(block)  # groups are sought among sound structures only; all else was checked before it was written
        grouped = replace(block, groups=self._groups(block, arrays["keys"]))
        return assemble([grouped], self._metadata(arrays), plausible=self.options.check_units)

    def _verified(self, path: Path) -> str:
        if not path.is_file():
            raise PriorbenchError(f"{path}: no such file; correct `path`, which is relative to the current folder")
        if path.suffix not in SUFFIXES:
            raise PriorbenchError(
                f"{path}: only plain extended XYZ ({' or '.join(SUFFIXES)}) is read; unpack or convert it first"
            )
        found = sha256_file(path)
        if self.options.sha256 not in (None, found):
            raise PriorbenchError(f"{path}: has the SHA-256 {found}, not {self.options.sha256}; it was altered")
        return found

    def _arrays(self, path: Path) -> dict[str, NDArray[Any]]:
        structures = read_structures(path)
        keys = (self.options.energy_key, self.options.forces_key)
        (energy, energies), (force, forces) = labels(path, structures, *keys)
        length, unit = _factors(self.options.length_unit, self.options.energy_unit)
        return {
            "positions": np.concatenate([s.positions for s in structures]) * length,
            "forces": forces * (unit / length),
            "energies": energies * unit,
            "cells": np.stack([s.cell.array for s in structures]) * length,
            "pbc": np.stack([s.pbc for s in structures]),
            "atomic_numbers": np.concatenate([s.numbers for s in structures]).astype(np.int16),
            "offsets": np.concatenate([[0], np.cumsum([len(s) for s in structures])]).astype(np.int64),
            "keys": np.array([self._key(path, i, s) for i, s in enumerate(structures)]),
            "names": np.array([energy, force]),
        }

    def _key(self, path: Path, index: int, structure: "Atoms") -> str:
        key = self.options.group_key
        if key is not None and key not in structure.info:
            refuse(path, index, f"it has no key {key!r}; correct group_key, its keys are {sorted(structure.info)}")
        return "" if key is None else str(structure.info[key])

    def _block(self, arrays: dict[str, NDArray[Any]]) -> "Block":
        """The structures, each a group of its own."""
        from priorbench.datasets.blocks import Block

        flat: dict[str, Any] = {name: arrays[name] for name in STRUCTURES}
        return Block(**flat, groups=np.arange(len(arrays["energies"]), dtype=np.int32), where=self.options.path)

    def _groups(self, block: "Block", keys: NDArray[Any]) -> NDArray[np.int32]:
        """Groups as the options say, those made one that hold the same structure."""
        from priorbench.datasets.groups import Nearness, near_duplicates, time_blocks, with_repeats

        if self.options.group_key is not None:
            groups = np.unique(keys, return_inverse=True)[1].astype(np.int32)
        elif self.options.block is not None:
            length = None if self.options.block == "auto" else self.options.block
            groups = time_blocks(block.forces, block.offsets, block.atomic_numbers, length)
        else:
            groups = near_duplicates(block, Nearness(self.options.distance))
        return with_repeats(groups, block)

    def _metadata(self, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
        from priorbench.datasets.groups import Nearness

        options = self.options
        length, energy = options.length_unit, options.energy_unit
        return {
            "source": "extxyz",
            "description": options.description,
            "licence": options.licence,
            "citation": options.citation,
            "nearness": asdict(Nearness(options.distance)),
            "units": {"in": f"{length}, {energy}, {energy}/{length}", "out": "Å, eV, eV/Å"},
            "subsystems": ["all"],
            "labels": {"energy": str(arrays["names"][0]), "forces": str(arrays["names"][1])},
            "sha256": {Path(options.path).name: str(arrays["sha256"])},
        }


def _factors(length: LengthUnit, energy: EnergyUnit) -> tuple[float, float]:
    """Å and eV that one unit of length and of energy are."""
    from ase import units

    lengths = {"Å": 1.0, "Bohr": units.Bohr, "nm": units.nm}
    energies = {
        "eV": 1.0,
        "Hartree": units.Hartree,
        "kcal/mol": units.kcal / units.mol,
        "kJ/mol": units.kJ / units.mol,
    }
    return lengths[length], energies[energy]
