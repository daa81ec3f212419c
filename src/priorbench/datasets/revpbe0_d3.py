"""DFT water, revPBE0-D3: 64 molecules, liquid and ice, classical and path-integral nuclei (1778 structures, download).

One part is one sub-system in DeePMD layout (Å, eV, eV/Å).  All oxygens come before all hydrogens and some molecules
are stretched or share a proton, so molecules are perceived.  The path-integral beads of one frame are near-duplicates
and form one group: see :func:`bead_groups`.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from priorbench.config import Strict
from priorbench.datasets.archive import read_npy, read_part, write_part
from priorbench.datasets.base import Expected
from priorbench.datasets.download import fetch
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.tensors import Layout, misfit

URL = (
    "https://raw.githubusercontent.com/CSIprinceton/workshop-june-2024/5aec42569907b867f90e9964599ec4c20ba224e6/"
    "hands-on-sessions/day-4-DPA2/assets/dataset/"
)
TYPES = {  # the same in every sub-system
    "type.raw": "c0287bfae960bdddafa96841b59c29ac9b7548ddac0b5bebd30fb502563d0507",
    "type_map.raw": "2af2202bdb95741681b308b05c1dae7837141fe32b10d14db2a4c0ea9103e55b",
}
ARRAYS = ("box", "coord", "energy", "force")
_TYPED: Layout = {"type": ("iu", ("n",)), "type_map": ("U", ("k",))}
SHA256 = {  # of set.000/{box,coord,energy,force}.npy
    "classical_ice": (
        "dcd98fced859d1843b6644ddf2ec700857429d2c54ad032567883cf834fa911d",
        "60c40d3b103edbd76dcd2ca5c5858273f16ef9c78c296294dcc78bca94e7c900",
        "59cad17f79239014be6446741ce320adbf077d9727781499fdb241f093eb8fcd",
        "32d1f940e99b8bcc4782d4bd1aa94b1b8456988441731fd2c21a3a14d3d60a73",
    ),
    "classical_liq": (
        "96f2060085b044890744b4a612581b8e0e3a402afbdb9d13f912f6e0f9292d01",
        "076ea86b7b82c40c554f10c634fcea8400d7fedcf986a6a43460fb0e9f5db204",
        "68e841f6e612b26371d78ddbe80d1997b76a10d3dfbf3d2391b618d9a3ef8301",
        "83c2fe995ed230ee4e305b7fffcf390d5613bb28e767ff66227c86e51b22c561",
    ),
    "quantum_ice": (
        "f5ca1d9dd249e7e03d1319048a56a20460e6f27994f55cbef92035c3d4295c13",
        "e9b284250133e53a6bbde4ea5b32c8aacfab573b7240d28f08f5dc6b942e1e73",
        "b0f808e3d5457484b4909f3df32fdb064ea06046ea4a48d7281d5ec9e1c34038",
        "5bb3dd169e22bb353c57ea5ddae5dd1a4dbab5135d4d8bf4beef3351be787b5a",
    ),
    "quantum_liq": (
        "1adfc81c7cf0f9bc40f3a44e1ebbd50c5497bd1d14db3415382225b0b420c64c",
        "27440d2917081fc39dc6a56f40b412f6e54dc8d2f72777ee3fd39f74771c5b61",
        "b4ab04ae372960621b15694185d60faabb47dcc6cb02a25db5833017d287b163",
        "e4cf0fd866a3b3950d784e548596c22fca720bdcaf2e26df324ec0c0cd7d23eb",
    ),
}
STRUCTURES = {"classical_ice": 3, "classical_liq": 179, "quantum_ice": 847, "quantum_liq": 749}  # of 192 atoms
Subsystem = Literal["classical_ice", "classical_liq", "quantum_ice", "quantum_liq"]


class RevPBE0D3Options(Strict):
    """Which structures are used."""

    subsystems: list[Subsystem] = Field(
        ["classical_ice", "classical_liq", "quantum_ice", "quantum_liq"], min_length=1, description="in this order"
    )
    intact_only: bool = Field(False, description="leave out structures with an atom outside every intact molecule")
    max_structures: int | None = Field(
        None, ge=1, description="keep at most so many structures, drawn by whole groups with a fixed seed; null: all"
    )

    @field_validator("subsystems")
    @classmethod
    def _distinct(cls, subsystems: list[str]) -> list[str]:
        if len(set(subsystems)) != len(subsystems):
            raise ValueError("a sub-system appears twice")
        return subsystems


class RevPBE0D3:
    """Source of the fetched DFT frames; see the module's docstring."""

    Options: ClassVar[type[Strict]] = RevPBE0D3Options

    def __init__(self, options: RevPBE0D3Options) -> None:
        self.options = options

    def parts(self) -> list[str]:
        """One part per sub-system."""
        return list(self.options.subsystems)

    def expected(self) -> list[Expected]:
        """The published structures, at most ``max_structures``; those that are not intact are not known beforehand."""
        count = sum(STRUCTURES[name] for name in self.options.subsystems)
        return [Expected(min(count, self.options.max_structures or count), 192)]

    def options_of(self, part: str) -> Strict:
        """The sub-system alone: filters come later."""
        return self.options.model_copy(update={"subsystems": [part], "intact_only": False, "max_structures": None})

    def acquire(self, part: str, mirror: Path | None, output: Path) -> None:
        """Fetch the six files of ``part`` and pack them, unchanged, into ``output``."""
        local = {
            name: fetch(f"{URL}{name}", sha256, f"revpbe0_d3/{name}", mirror) for name, sha256 in _files(part).items()
        }
        arrays = read_folder(part, local)
        write_part(output, part, **arrays)

    def convert(self, parts: dict[str, Path]) -> Frames:
        """Frames of all sub-systems in their given order, with the options' filters applied."""
        from priorbench.datasets.blocks import assemble, filtered

        everything = assemble([_block(path, index) for index, path in enumerate(parts.values())], self._metadata(parts))
        frames = filtered(everything, self.options.intact_only, self.options.max_structures)
        return replace(frames, metadata={**frames.metadata, "nearest_oxygen_fails": nearest_oxygen_fails(frames)})

    def _metadata(self, parts: dict[str, Path]) -> dict[str, Any]:
        from priorbench.datasets.groups import WATER

        return {
            "source": "revpbe0_d3",
            "description": "64 H2O, revPBE0-D3 with CP2K, liquid and ice, classical and path-integral nuclei",
            "url": URL,
            "licence": "none stated upstream; fetched, never redistributed",
            "citation": "CSI workshop, June 2024, hands-on session of day 4 (DPA-2); upstream names no paper",
            "nearness": asdict(WATER),
            "units": {"in": "Å, eV, eV/Å", "out": "Å, eV, eV/Å"},
            "subsystems": list(parts),
            "sha256": {name: sha256 for part in parts for name, sha256 in _files(part).items()},
        }


def read_folder(part: str, files: Mapping[str, Path]) -> dict[str, NDArray[Any]]:
    """The arrays of the sub-system ``part`` in DeePMD layout, whose ``files`` are given by their names upstream."""
    arrays = {name: read_npy(files[f"{part}/set.000/{name}.npy"]) for name in ARRAYS}
    arrays["type"], arrays["type_map"] = (_words(files[f"{part}/{name}.raw"]) for name in ("type", "type_map"))
    try:
        arrays["type"] = arrays["type"].astype(np.int64)
    except (ValueError, OverflowError):
        raise PriorbenchError(f"revpbe0_d3 {part}: type.raw holds more than numbers of types; fetch it again") from None
    check_shapes(part, arrays)
    return arrays


def _words(path: Path) -> NDArray[Any]:
    try:
        return np.array(path.read_text(encoding="utf-8").split(), np.str_)
    except UnicodeDecodeError:
        raise PriorbenchError(f"{path}: is not text; delete it and fetch it again") from None


def check_shapes(part: str, arrays: dict[str, NDArray[Any]]) -> None:
    """Refuse arrays that do not fit each other or the atom types."""
    from ase.data import atomic_numbers

    if (wrong := misfit(arrays, _TYPED)) is not None:
        raise PriorbenchError(f"revpbe0_d3 {part}: its types are none ({wrong}); fetch it again")
    structures, atoms = arrays["energy"].size, len(arrays["type"])
    expected = {"box": 9, "coord": 3 * atoms, "energy": 1, "force": 3 * atoms}
    for name, columns in expected.items():
        array = arrays[name]
        if array.size != structures * columns or array.dtype.kind != "f" or array.shape[:1] != (structures,):
            raise PriorbenchError(
                f"revpbe0_d3 {part}: {name}.npy has shape {arrays[name].shape} for {structures} structures of {atoms} "
                "atoms; fetch it again"
            )
    if structures == 0 or atoms == 0:
        raise PriorbenchError(f"revpbe0_d3 {part}: holds no structure; fetch it again")
    if not np.isin(arrays["type"], np.arange(len(arrays["type_map"]))).all():
        raise PriorbenchError(f"revpbe0_d3 {part}: type.raw names a type that type_map.raw lacks; fetch it again")
    if unknown := set(arrays["type_map"].tolist()) - set(atomic_numbers):
        raise PriorbenchError(
            f"revpbe0_d3 {part}: type_map.raw names {min(unknown)[:40]!r}, no element; fetch it again"
        )


def nearest_oxygen_fails(frames: Frames) -> int:
    """Structures in which giving each hydrogen to its nearest oxygen leaves an oxygen without exactly two."""
    from priorbench.neighbours import pairs_within

    failing = 0
    for s in range(len(frames)):
        atoms = frames.atoms_of(s)
        numbers = frames.atomic_numbers[atoms]
        pairs = pairs_within(frames.positions[atoms], frames.cells[s], frames.pbc[s], 2.0)
        ends = np.concatenate([[pairs.first, pairs.second], [pairs.second, pairs.first]], axis=1)
        lengths = np.concatenate([pairs.lengths, pairs.lengths])
        wanted = (numbers[ends[0]] == 1) & (numbers[ends[1]] == 8)
        hydrogens, oxygens = ends[:, wanted]
        order = np.lexsort((lengths[wanted], hydrogens))
        first = np.unique(hydrogens[order], return_index=True)[1]
        owned = np.bincount(oxygens[order][first], minlength=len(numbers))
        failing += bool((owned[numbers == 8] != 2).any())
    return failing


def bead_groups(oxygens: NDArray[np.float64], cells: NDArray[np.float64]) -> NDArray[np.int32]:
    """Number the independent frames: structures linked by equal cells and nearly equal oxygen positions are one.

    ``oxygens`` (F, m, 3) Å, ``cells`` (F, 3, 3) Å → (F,).  Nearly equal is a distance below 0.1 Å (see
    :mod:`priorbench.datasets.distances`).  Beads reach 0.07 Å, other structures of equal cell start at 0.4 Å.
    """
    from types import SimpleNamespace

    from priorbench.datasets.distances import by_value
    from priorbench.datasets.groups import WATER, by_first_appearance, near_duplicates

    frames, atoms = oxygens.shape[:2]
    equal = np.unique(cells.reshape(frames, 9), axis=0, return_inverse=True)[1].ravel()
    labels = np.zeros(frames, np.int64)
    for members in by_value(equal):
        structures = SimpleNamespace(
            positions=oxygens[members].reshape(-1, 3),
            cells=cells[members],
            pbc=np.ones((len(members), 3), np.bool_),
            atomic_numbers=np.full(len(members) * atoms, 8, np.int16),
            offsets=np.arange(len(members) + 1) * atoms,
        )
        labels[members] = members[0] + near_duplicates(structures, WATER) * frames
    return by_first_appearance(labels)


def _files(part: str) -> dict[str, str]:
    arrays = {f"{part}/set.000/{name}.npy": sha256 for name, sha256 in zip(ARRAYS, SHA256[part], strict=True)}
    return {**arrays, **{f"{part}/{name}": sha256 for name, sha256 in TYPES.items()}}


def _block(path: Path, subsystem: int) -> Any:
    from ase.data import atomic_numbers

    from priorbench.datasets.blocks import rectangular
    from priorbench.datasets.validity import check_block

    arrays = read_part(path, path.stem, (*ARRAYS, "type", "type_map"))
    check_shapes(path.stem, arrays)
    numbers = np.array([atomic_numbers[str(symbol)] for symbol in arrays["type_map"]], np.int16)[arrays["type"]]
    positions = arrays["coord"].astype(np.float64).reshape(len(arrays["energy"]), -1, 3)
    cells = arrays["box"].astype(np.float64).reshape(-1, 3, 3)
    block = rectangular(
        positions=positions,
        forces=arrays["force"].astype(np.float64).reshape(positions.shape),
        energies=arrays["energy"].astype(np.float64).reshape(-1),
        cells=cells,
        atomic_numbers=numbers,
        groups=np.arange(len(positions), dtype=np.int32),
        where=f"revpbe0_d3 {path.stem}",
        subsystem=subsystem,
    )
    check_block(block)  # groups are sought among sound structures only
    return replace(block, groups=bead_groups(positions[:, numbers == 8], cells))
