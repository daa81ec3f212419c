"""Your own structures: any extended XYZ file that ASE reads, with energies and forces.

Atoms may be in any order and wrapped or not, the cell of any shape, periodic in any directions, and structures of any
sizes may be mixed.  The one part holds what was read in Å, eV and eV/Å.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from priorbench.config import Strict
from priorbench.datasets.archive import read_npz, write_npz
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.io import sha256_file

if TYPE_CHECKING:
    from ase import Atoms

    from priorbench.datasets.blocks import Block

ENERGIES = ("energy", "free_energy", "energies", "Energy", "total_energy", "REF_energy", "dft_energy")
FORCES = ("forces", "force", "Forces", "REF_forces", "dft_forces")
FLAT = ("positions", "forces", "energies", "cells", "pbc", "atomic_numbers", "offsets", "keys")
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
        None, description="name of the energy; null: the first of ASE's and other usual names that all structures have"
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

    def acquire(self, part: str, mirror: Path | None, output: Path) -> None:
        """Read the file and write its structures, in Å, eV and eV/Å, to ``output``."""
        path = Path(self.options.path)
        sha256 = self._verified(path)
        write_npz(output, **self._arrays(path), sha256=np.array(sha256))

    def convert(self, parts: dict[str, Path]) -> Frames:
        """Frames in the order of the file, with groups as the options say."""
        from priorbench.datasets.blocks import assemble

        arrays = read_npz(parts["structures"], (*FLAT, "names", "sha256"))
        block = self._block(arrays)
        return assemble([block], self._metadata(arrays), plausible=self.options.check_units)

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
        structures = list(read_structures(path))
        if not structures:
            raise PriorbenchError(f"{path}: holds no structure")
        energy = _common_name(path, structures, "energy", self.options.energy_key, ENERGIES, _energy)
        forces = _common_name(path, structures, "forces", self.options.forces_key, FORCES, _forces)
        length, unit = _factors(self.options.length_unit, self.options.energy_unit)
        return {
            "positions": np.concatenate([s.positions for s in structures]) * length,
            "forces": np.concatenate([_forces(s, forces) for s in structures]) * (unit / length),
            "energies": np.array([_energy(s, energy) for s in structures], np.float64) * unit,
            "cells": np.stack([s.cell.array for s in structures]) * length,
            "pbc": np.stack([s.pbc for s in structures]),
            "atomic_numbers": np.concatenate([s.numbers for s in structures]).astype(np.int16),
            "offsets": np.concatenate([[0], np.cumsum([len(s) for s in structures])]).astype(np.int64),
            "keys": np.array([self._key(path, i, s) for i, s in enumerate(structures)]),
            "names": np.array([energy, forces]),
        }

    def _key(self, path: Path, index: int, structure: "Atoms") -> str:
        key = self.options.group_key
        if key is not None and key not in structure.info:
            _refuse(path, index, f"it has no key {key!r}; correct group_key, its keys are {sorted(structure.info)}")
        return "" if key is None else str(structure.info[key])

    def _block(self, arrays: dict[str, NDArray[Any]]) -> "Block":
        from dataclasses import replace

        from priorbench.datasets.blocks import Block
        from priorbench.datasets.groups import near_duplicates, time_blocks
        from priorbench.datasets.plausibility import check_block

        flat: dict[str, Any] = {name: arrays[name] for name in FLAT if name != "keys"}
        block = Block(**flat, groups=np.arange(len(arrays["energies"]), dtype=np.int32), where=self.options.path)
        check_block(block)  # groups are sought among sound structures only
        if self.options.group_key is not None:
            groups = np.unique(arrays["keys"], return_inverse=True)[1].astype(np.int32)
        elif self.options.block is not None:
            length = None if self.options.block == "auto" else self.options.block
            groups = time_blocks(block.forces, block.offsets, block.atomic_numbers, length)
        else:
            groups = near_duplicates(block)
        return replace(block, groups=groups)

    def _metadata(self, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
        options = self.options
        length, energy = options.length_unit, options.energy_unit
        return {
            "source": "extxyz",
            "description": options.description,
            "licence": options.licence,
            "citation": options.citation,
            "units": {"in": f"{length}, {energy}, {energy}/{length}", "out": "Å, eV, eV/Å"},
            "subsystems": ["all"],
            "labels": {"energy": str(arrays["names"][0]), "forces": str(arrays["names"][1])},
            "sha256": {Path(options.path).name: str(arrays["sha256"])},
        }


def read_structures(path: Path) -> Iterator["Atoms"]:
    """Every structure of an extended XYZ file; one that cannot be read or is cut short is refused by its number."""
    from ase.io import iread

    _check_lines(path)
    index = 0
    try:
        for structure in iread(path, index=":", format="extxyz"):
            del structure.constraints  # fixed atoms keep their forces
            yield structure
            index += 1
    except PriorbenchError:
        raise
    except Exception as error:  # ASE raises whatever its parser meets
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        _refuse(path, index, f"cannot be read as extended XYZ ({reason}); the file is damaged or cut short")


def _check_lines(path: Path) -> None:
    """Refuse a file whose counts and lines do not fit: ASE takes the end of the file for the end of a structure."""
    from ase.data import atomic_numbers

    index = 0
    try:
        with path.open(encoding="utf-8") as lines:
            while line := lines.readline():
                if not line.strip():
                    continue
                if not re.fullmatch(r"\s*\d+\s*", line) or int(line) == 0:
                    _refuse(path, index, f"a number of atoms was expected, found {line.strip()[:40]!r}; it is damaged")
                comment, count, width = lines.readline(), int(line), 0
                species = _species_column(comment)
                for atom in range(count):
                    row = lines.readline()
                    words = row.split()
                    if not words or not (row.endswith("\n") or atom == count - 1):
                        _refuse(path, index, f"ends after {atom} of {count} atoms; the file is cut short")
                    width = width or len(words)
                    if len(words) != width:
                        _refuse(path, index, f"atom {atom} has {len(words)} columns, others {width}; it is damaged")
                    symbol = words[species] if species is not None and species < len(words) else None
                    if symbol is not None and not symbol.isdigit() and atomic_numbers.get(symbol, 0) == 0:
                        _refuse(path, index, f"{symbol[:40]!r} is no element of the periodic table")
                index += 1
    except UnicodeDecodeError:
        raise PriorbenchError(f"{path}: is not a text file; convert it to extended XYZ first") from None


def _species_column(comment: str) -> int | None:
    """Column of the species by the Properties of a comment line; the first where it has none."""
    found = re.search(r'Properties\s*=\s*"?([^"\s]+)', comment, re.IGNORECASE)
    if found is None:
        return 0
    words, column = found.group(1).split(":"), 0
    for name, _, width in zip(words[::3], words[1::3], words[2::3], strict=False):
        if name.lower() == "species":
            return column
        column += int(width) if width.isdigit() else 1
    return None


def _common_name(
    path: Path, structures: list["Atoms"], what: str, given: str | None, usual: tuple[str, ...], read: Any
) -> str:
    """The first name under which every structure has the quantity."""
    names = (given,) if given else usual
    have = {name: [read(s, name) is not None for s in structures] for name in names}
    for name, there in have.items():
        if all(there):
            return name
    best = max(names, key=lambda name: sum(have[name]))
    advice = f"add it or give its name in {what}_key"
    _refuse(path, have[best].index(False), f"it has no {what} (looked for {', '.join(names)}); {advice}")


def _energy(structure: "Atoms", name: str) -> float | None:
    results = structure.calc.results if structure.calc is not None else {}
    value = results.get(name, structure.info.get(name))
    if value is None and name in structure.arrays and structure.arrays[name].ndim == 1:
        value = structure.arrays[name]
    if name == "energies" and value is not None:
        value = np.sum(value)
    return float(value) if isinstance(value, int | float | np.number) and not isinstance(value, bool) else None


def _forces(structure: "Atoms", name: str) -> NDArray[np.float64] | None:
    results = structure.calc.results if structure.calc is not None else {}
    value = results.get(name, structure.arrays.get(name))
    return None if value is None or np.shape(value) != (len(structure), 3) else np.asarray(value, np.float64)


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


def _refuse(path: Path, index: int, reason: str) -> NoReturn:
    raise PriorbenchError(f"{path}: structure {index}: {reason}")
