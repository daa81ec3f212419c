"""The RuNNer format (`input.data`) of high-dimensional neural network potentials: Bohr, Hartree, Hartree/Bohr.

One structure is `begin`, any number of `comment` lines, `lattice x y z` three times (or never: not periodic), one line
`atom x y z element charge unused fx fy fz` per atom, `energy`, `charge`, `end` (Behler, 10.1002/qua.24890).  Reading is
strict: a file that is cut, or a value that is missing or not a finite number, is refused with its line.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from priorbench.errors import PriorbenchError
from priorbench.tensors import Arrays

HARTREE = 27.211386245988  # eV, CODATA 2018
BOHR = 0.529177210903  # Å, CODATA 2018
ATOM_WORDS = 10


def read_runner(lines: Iterable[str], where: str) -> Arrays:
    """Read S structures with A atoms in all, in the units and the order of the file.

    Returns ``positions`` (A, 3) Bohr, ``forces`` (A, 3) Hartree/Bohr, ``energies`` (S,) Hartree, ``cells`` (S, 3, 3)
    Bohr (zero where there is no lattice), ``pbc`` (S, 3), ``atomic_numbers`` (A,) and ``offsets`` (S + 1,).  ``lines``
    may be a stream; ``where`` names it in the :class:`PriorbenchError` of the first line that cannot be trusted.
    """
    reader = _Reader(where)
    for number, line in enumerate(lines, start=1):
        reader.read(number, line.split())
    return reader.arrays()


def in_canonical_units(arrays: Arrays) -> Arrays:
    """The same arrays in Å, eV and eV/Å."""
    factors = {"positions": BOHR, "cells": BOHR, "energies": HARTREE, "forces": HARTREE / BOHR}
    return {name: array * factors[name] if name in factors else array for name, array in arrays.items()}


@dataclass
class _Reader:
    where: str
    line: int = 0
    inside: bool = False
    vectors: list[list[float]] = field(default_factory=list)  # x y z fx fy fz of every atom read
    numbers: list[int] = field(default_factory=list)
    lattice: list[list[float]] = field(default_factory=list)
    energy: list[float] = field(default_factory=list)
    cells: list[list[list[float]]] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)
    offsets: list[int] = field(default_factory=lambda: [0])

    def read(self, number: int, words: list[str]) -> None:
        self.line = number
        if not words:
            return
        keyword, values = words[0], words[1:]
        if self.inside != (keyword != "begin"):
            self._refuse(f"{keyword[:40]!r} where {'end' if self.inside else 'begin'!r} was expected")
        if keyword == "atom":
            self._atom(values)
        elif keyword == "lattice":
            self.lattice.append(self._finite(values, 3))
        elif keyword == "energy":
            self.energy += self._finite(values, 1)
        elif keyword == "charge":
            self._finite(values, 1)
        elif keyword == "begin":
            self.inside, self.lattice, self.energy = True, [], []
        elif keyword == "end":
            self._end()
        elif keyword != "comment":
            self._refuse(f"unknown keyword {keyword[:40]!r}")

    def arrays(self) -> Arrays:
        if self.inside:
            self._refuse("the file ends within a structure; it is cut short, fetch it again")
        if not self.energies:
            raise PriorbenchError(f"{self.where}: holds no structure; is it a RuNNer input.data file?")
        vectors, cells = np.array(self.vectors, np.float64), np.array(self.cells, np.float64)
        return {
            "positions": vectors[:, :3].copy(),
            "forces": vectors[:, 3:].copy(),
            "energies": np.array(self.energies, np.float64),
            "cells": cells,
            "pbc": np.tile(np.any(cells.reshape(-1, 9), axis=1, keepdims=True), (1, 3)),
            "atomic_numbers": np.array(self.numbers, np.int16),
            "offsets": np.array(self.offsets, np.int64),
        }

    def _atom(self, values: list[str]) -> None:
        from ase.data import atomic_numbers

        if len(values) != ATOM_WORDS - 1:
            self._refuse(f"an atom has x y z element charge unused fx fy fz, found {len(values)} values")
        number = atomic_numbers.get(values[3], 0)
        if number == 0:
            self._refuse(f"{values[3][:40]!r} is no element of the periodic table")
        self.vectors.append(self._finite(values[:3] + values[6:], 6))
        self.numbers.append(number)

    def _end(self) -> None:
        if len(self.lattice) not in (0, 3):
            self._refuse(f"{len(self.lattice)} lattice vectors where 3 (or none) are expected")
        if self.lattice and abs(np.linalg.det(self.lattice)) < 1e-6:
            self._refuse("the lattice has zero volume")
        if len(self.energy) != 1:
            self._refuse(f"{len(self.energy)} energies where 1 is expected")
        if len(self.numbers) == self.offsets[-1]:
            self._refuse("no atom")
        self.cells.append(self.lattice or [[0.0] * 3] * 3)
        self.energies += self.energy
        self.offsets.append(len(self.numbers))
        self.inside = False

    def _finite(self, words: list[str], count: int) -> list[float]:
        if len(words) != count:
            self._refuse(f"{count} numbers are expected, found {len(words)}")
        try:
            if any("_" in word for word in words):  # Python reads 2_0 as 20
                raise ValueError
            values = [float(word) for word in words]
        except ValueError:
            self._refuse(f"not a number among {' '.join(words)[:80]!r}")
        if not all(map(math.isfinite, values)):
            self._refuse(f"a value is not finite among {' '.join(words)[:80]!r}")
        return values

    def _refuse(self, reason: str) -> NoReturn:
        raise PriorbenchError(f"{self.where}: structure {len(self.energies)}, line {self.line}: {reason}")
