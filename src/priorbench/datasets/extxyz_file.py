"""Extended XYZ files from outside: every structure with its labels, or a refusal by file, structure and reason."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError

if TYPE_CHECKING:
    from ase import Atoms

KINDS = (  # names of energies and forces of one level of theory
    (("energy", "free_energy", "energies"), ("forces", "force")),
    (("Energy", "total_energy", "potential_energy"), ("Forces", "forces", "force")),
    (("REF_energy",), ("REF_forces",)),
    (("dft_energy", "DFT_energy"), ("dft_forces", "DFT_forces")),
)

Presence = dict[str, list[bool]]  # by name, whether each structure has it


def read_structures(path: Path) -> list["Atoms"]:
    """Every structure of an extended XYZ file; one that cannot be read or is cut short is refused by its number."""
    from ase.io import iread

    expected = _check_lines(path)
    structures: list[Atoms] = []
    try:
        with path.open(encoding="utf-8") as file:  # of a path, ASE takes what follows an @ for an index
            for structure in iread(file, index=":", format="extxyz"):
                del structure.constraints  # fixed atoms keep their forces
                structures.append(structure)
    except Exception as error:  # ASE raises whatever its parser meets
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        refuse(
            path, len(structures), f"cannot be read as extended XYZ ({reason}); mend its comment line or its columns"
        )
    if len(structures) != expected:
        refuse(path, len(structures), f"ASE reads {len(structures)} of {expected} structures; mend the one after them")
    return structures


def labels(
    path: Path, structures: list["Atoms"], energy_key: str | None, forces_key: str | None
) -> tuple[tuple[str, NDArray[np.float64]], tuple[str, NDArray[np.float64]]]:
    """Name and values of the energies (S,) and of the forces (A, 3), in the units of the file.

    Where a name is not given, it is the first of the usual ones (``KINDS``) that all structures have.  The energy of
    one level of theory is never taken with the forces of another, and two are refused unless the names say which.
    """
    have: tuple[Presence, Presence] = ({}, {})  # of energies, of forces

    def complete(place: int, given: str | None, usual: tuple[str, ...]) -> list[str]:
        read = (_energy, _forces)[place]
        names = (given,) if given else usual
        for name in names:
            if name not in have[place]:
                have[place][name] = [read(s, name) is not None for s in structures]
        return [name for name in names if all(have[place][name])]

    kinds = [(complete(0, energy_key, energies), complete(1, forces_key, forces)) for energies, forces in KINDS]
    found = list(dict.fromkeys((energy[0], force[0]) for energy, force in kinds if energy and force))
    anywhere = [[name for name, flags in names.items() if any(flags)] for names in have]
    if not found and all(len(names) == 1 and all(have[i][names[0]]) for i, names in enumerate(anywhere)):
        # There is nothing else, in any structure, that either could belong to.
        found = [(anywhere[0][0], anywhere[1][0])]
    if not found:
        _refuse_unlabelled(path, structures, have)
    read = [
        (
            (energy, np.array([_energy(s, energy) for s in structures], np.float64)),
            (force, np.concatenate([_forces(s, force) for s in structures])),
        )
        for energy, force in found
    ]
    for other in read[1:]:
        if not all(np.array_equal(a[1], b[1], equal_nan=True) for a, b in zip(read[0], other, strict=True)):
            names = ", ".join(f"{e} with {f}" for e, f in found)
            raise PriorbenchError(
                f"{path}: holds several kinds of labels ({names}); choose by energy_key and forces_key"
            )
    return read[0]


def refuse(path: Path, index: int, reason: str) -> NoReturn:
    """Raise a :class:`PriorbenchError` for structure ``index`` of ``path``."""
    raise PriorbenchError(f"{path}: structure {index}: {reason}")


def _refuse_unlabelled(path: Path, structures: list["Atoms"], have: tuple[Presence, Presence]) -> NoReturn:
    """Name what is missing: of the energies first, by the name that most structures have."""
    for what, known in zip(("energy", "forces"), have, strict=True):
        if any(all(flags) for flags in known.values()):
            continue
        best = max(known, key=lambda name: sum(known[name]))
        index = known[best].index(False)
        structure = structures[index]
        results = structure.calc.results if structure.calc is not None else {}
        raw = results.get(best, structure.info.get(best, structure.arrays.get(best)))
        if raw is not None:
            refuse(
                path, index, f"its {best} cannot be read as {what}: {str(raw)[:40]!r}; write numbers in plain notation"
            )
        refuse(path, index, f"it has no {what} (looked for {', '.join(known)}); add it or give its name in {what}_key")
    raise PriorbenchError(
        f"{path}: has energies and forces, but not of one kind for all structures; name them in energy_key and "
        "forces_key"
    )


def _check_lines(path: Path) -> int:
    """Structures in the file; counts and lines that do not fit are refused, where ASE would stop without a word."""
    from ase.data import atomic_numbers

    index, gap = 0, False
    try:
        with path.open(encoding="utf-8", newline=None) as lines:
            while line := lines.readline():
                if not line.strip():
                    gap = True
                    continue
                if gap:
                    refuse(path, index, "comes after a blank line, where reading ends; remove the blank line")
                if line.startswith("\ufeff"):
                    refuse(path, index, "the file starts with a byte order mark; save it as plain UTF-8")
                if not re.fullmatch(r"\s*[0-9]{1,9}\s*", line) or int(line) == 0:
                    refuse(path, index, f"a number of atoms was expected, found {line.strip()[:40]!r}; it is damaged")
                comment, count, width, decimals = lines.readline(), int(line), 0, set[int]()
                species = _species_column(comment)
                for atom in range(count):
                    row = lines.readline()
                    words, whole = row.split(), row.endswith("\n")
                    if not words or not (whole or atom == count - 1):
                        refuse(path, index, f"ends after {atom} of {count} atoms; the file is cut short")
                    width = width or len(words)
                    if len(words) != width:
                        refuse(path, index, f"atom {atom} has {len(words)} columns, others {width}; it is damaged")
                    if not whole and _decimals(words[-1]) < min(decimals, default=0):
                        refuse(
                            path,
                            index,
                            f"atom {atom} seems to end within a number; the file is cut short (if it is whole, end its "
                            "last line)",
                        )
                    decimals.add(_decimals(words[-1]))
                    symbol = words[species] if species is not None and species < len(words) else None
                    if symbol is not None and not symbol.isdigit() and atomic_numbers.get(symbol, 0) == 0:
                        refuse(path, index, f"{symbol[:40]!r} is no element of the periodic table")
                index += 1
    except UnicodeDecodeError as error:
        refuse(
            path, index, f"is not UTF-8 text (byte {error.object[error.start]:#04x}); convert it to plain text first"
        )
    if index == 0:
        raise PriorbenchError(f"{path}: holds no structure")
    return index


def _decimals(word: str) -> int:
    """Digits behind the point, with those of an exponent."""
    return len(word.partition(".")[2])


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
    if value is None or np.shape(value) != (len(structure), 3) or np.asarray(value).dtype.kind not in "iuf":
        return None
    return np.asarray(value, np.float64)
