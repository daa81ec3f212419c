"""Revised MD17: ten small organic molecules, PBE/def2-SVP, five official splits (20,000 structures each, download).

One part is one molecule: the official training and test side of one split, 1000 structures each, frames of one long
trajectory at 500 K.  Not periodic; kcal/mol and Å.  Frames are correlated in time, so the official practice is to train
on at most 1000 structures and to test on the official test side.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from priorbench.config import Strict
from priorbench.datasets.archive import TEXT, read_npz, read_part, write_part
from priorbench.datasets.base import Expected
from priorbench.datasets.download import fetch
from priorbench.datasets.pins import fetch_pinned
from priorbench.errors import PriorbenchError
from priorbench.frames import TEST, TRAIN, Frames
from priorbench.io import sha256_file
from priorbench.tensors import Arrays, Layout, misfit

if TYPE_CHECKING:
    from priorbench.datasets.blocks import Block

URL = "https://raw.githubusercontent.com/andersx/rmd17-npz/4f6bb0a186822c90d47cd98b7a27991fe0b3173b/rmd17-npz/"
SIDES = {"train": TRAIN, "test": TEST}
CHARGES: Layout = {"nuclear_charges": ("iu", ("n",))}
ARRAYS: Layout = {"coords": ("f", ("F", "n", 3)), "energies": ("f", ("F",)), "forces": ("f", ("F", "n", 3))}
SHA256 = {  # of the files of split 1; those of the others are pinned when they are first seen
    "rmd17_aspirin_test_01.npz": "a3c3b61e782d01e6dd649a126004903f7873e8e7ee5034135abfdb8873be711d",
    "rmd17_aspirin_train_01.npz": "d460f0e43a1a9411b55cdcd9cdbeb9466ae62851ac91392516ab88e4ebc68143",
    "rmd17_azobenzene_test_01.npz": "e83c87fe541a95e7349684e47294821ada708a780b59c469d3792588213cfc05",
    "rmd17_azobenzene_train_01.npz": "7a2ce543773f6cb7a2cccecbc37fd479781e27ec2d0bb4e5f9ecff8e404e5857",
    "rmd17_benzene_test_01.npz": "4aad4aa2f5ae6aa78d2d9f5da7cb285c97864cfbdf054b67de12a1429b249534",
    "rmd17_benzene_train_01.npz": "6e69deb5dc8663c2d2461cc50e522c74742acea7b4185da348fc08585a15cdc7",
    "rmd17_ethanol_test_01.npz": "c3594a0f93d5992e02f9eb671392fb2e5021b3fa4f902417886966d1e4f64e1e",
    "rmd17_ethanol_train_01.npz": "096946747b8d9dcfa042b44f8debbd3da387dfe1586b659e3be789cc4927316a",
    "rmd17_malonaldehyde_test_01.npz": "147404574d4fe3204dea7eb3799426d264e36b7900012f27fd2d26a26832fdaf",
    "rmd17_malonaldehyde_train_01.npz": "95723385cdfd7f8446a84cdff607f14901e4c2b3949db7a965147dc5098d8ee1",
    "rmd17_naphthalene_test_01.npz": "80a19bca6aaa5cdf241007d6a7332e7b96a8e6ef362c1badcdb86a574ac3fe06",
    "rmd17_naphthalene_train_01.npz": "940f41110785fb0d3fa5feac68800cf4c68bd05fd55d563d3adacf5247d7688a",
    "rmd17_paracetamol_test_01.npz": "99e09ff10b54c55830c011c0959b643bede0512a89ae5b5b9a11e8abea9b3eaa",
    "rmd17_paracetamol_train_01.npz": "819513d42011a63773ff1baf61b06f9f0884370fbdb6539d6f11fc6cb580a0ba",
    "rmd17_salicylic_test_01.npz": "4a03f66c719d7684f39620b2bae6842613482a86cdd4e6f95115ae4d37f03cc0",
    "rmd17_salicylic_train_01.npz": "9f96d79ec7a66dec666dbba60307c083ede80ecc919e0c9513ad9accfe43b5c0",
    "rmd17_toluene_test_01.npz": "8a658b9bf1b7a5c1abaa03846ee6302725e02bdcd2ab720ef94da0be55625faa",
    "rmd17_toluene_train_01.npz": "24d0642f897a1da1fdc4dbdd0a9c2a7f6082dd88e02954b12896a45a7a5fbac7",
    "rmd17_uracil_test_01.npz": "ceda757f7670d97080ec3c28dfb559aeb8ca54f49e7f0da0682fa1eb5ac00907",
    "rmd17_uracil_train_01.npz": "e1d450430362e3bebdeea96b24501f5e56a5a8af1eb02d50cb763f48b51523cf",
}
Molecule = Literal[
    "aspirin",
    "azobenzene",
    "benzene",
    "ethanol",
    "malonaldehyde",
    "naphthalene",
    "paracetamol",
    "salicylic",
    "toluene",
    "uracil",
]
MOLECULES: list[Molecule] = list(get_args(Molecule))
ATOMS = dict(zip(MOLECULES, (21, 24, 12, 9, 9, 18, 20, 16, 15, 12), strict=True))
OFFICIAL = 1000  # structures of a side of each molecule


class RMD17Options(Strict):
    """Which molecules and which of the official splits are used."""

    molecules: list[Molecule] = Field(MOLECULES, min_length=1, description="in this order")
    split: Literal[1, 2, 3, 4, 5] = Field(1, description="official split: 1000 training and 1000 test structures each")

    @field_validator("molecules")
    @classmethod
    def _distinct(cls, molecules: list[str]) -> list[str]:
        if len(set(molecules)) != len(molecules):
            raise ValueError("a molecule appears twice")
        return molecules


class RMD17:
    """Source of the fetched molecules; see the module's docstring."""

    Options: ClassVar[type[Strict]] = RMD17Options

    def __init__(self, options: RMD17Options) -> None:
        self.options = options

    def parts(self) -> list[str]:
        """One part per molecule."""
        return list(self.options.molecules)

    def expected(self) -> list[Expected]:
        """Both official sides of every molecule."""
        return [
            Expected(OFFICIAL, ATOMS[name], official=side, periodic=False)
            for name in self.options.molecules
            for side in SIDES.values()
        ]

    def options_of(self, part: str) -> Strict:
        """The molecule and the official split alone."""
        return self.options.model_copy(update={"molecules": [part]})

    def acquire(self, part: str, mirror: Path | None, output: Path) -> None:
        """Fetch both sides of ``part`` and pack them, in kcal/mol and Å, into ``output``."""
        packed: dict[str, NDArray[Any]] = {}
        for side in SIDES:
            path = self._fetch(part, side, mirror)
            arrays = read_side(path)
            charges = arrays.pop("nuclear_charges")
            if not np.array_equal(packed.setdefault("nuclear_charges", charges), charges):
                raise PriorbenchError(
                    f"{path}: its nuclear_charges differ from those of the training side; both must be of the same "
                    "molecule, fetch them again"
                )
            packed |= {f"{side}_{name}": array for name, array in arrays.items()}
            packed[f"{side}_sha256"] = np.array(sha256_file(path))
        write_part(output, part, **packed)

    def convert(self, parts: dict[str, Path]) -> Frames:
        """Frames of all molecules in their given order, each with its training side before its test side."""
        from priorbench.datasets.blocks import assemble

        layout = dict(CHARGES)
        for side in SIDES:
            for name, (kinds, shape) in ARRAYS.items():  # each side has its own number of structures
                layout[f"{side}_{name}"] = kinds, tuple(side if n == "F" else n for n in shape)
            layout[f"{side}_sha256"] = TEXT
        read = {molecule: read_part(path, molecule, layout) for molecule, path in parts.items()}
        blocks = [
            _block(arrays, molecule, side, index)
            for index, (molecule, arrays) in enumerate(read.items())
            for side in SIDES
        ]
        return assemble(blocks, self._metadata(read))

    def _fetch(self, part: str, side: str, mirror: Path | None) -> Path:
        name = self._file(part, side)
        if name in SHA256:
            return fetch(URL + name, SHA256[name], f"rmd17/{name}", mirror)
        return fetch_pinned(URL + name, f"rmd17/{name}", mirror, check=read_side)

    def _file(self, part: str, side: str) -> str:
        return f"rmd17_{part}_{side}_{self.options.split:02d}.npz"

    def _metadata(self, read: dict[str, Arrays]) -> dict[str, Any]:
        return {
            "source": "rmd17",
            "description": f"revised MD17, official split {self.options.split}: PBE/def2-SVP, molecules at 500 K",
            "url": URL,
            "licence": "CC0",
            "citation": "A. S. Christensen and O. A. von Lilienfeld, 2020, 10.1088/2632-2153/abba6f",
            "units": {"in": "Å, kcal/mol, kcal/mol/Å", "out": "Å, eV, eV/Å"},
            "subsystems": list(read),
            "sha256": {
                self._file(part, side): str(arrays[f"{side}_sha256"]) for part, arrays in read.items() for side in SIDES
            },
        }


def read_side(path: Path) -> Arrays:
    """``nuclear_charges`` (n,), ``coords`` and ``forces`` (F, n, 3) in Å and kcal/mol/Å, ``energies`` (F,) kcal/mol."""
    arrays = read_npz(path, (*CHARGES, *ARRAYS))
    if misfit(arrays, {**CHARGES, **ARRAYS}) is not None or not all(array.size for array in arrays.values()):
        shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in arrays.items())
        raise PriorbenchError(f"{path}: its arrays do not fit each other ({shapes}); it is damaged, fetch it again")
    return arrays


def _block(arrays: Arrays, molecule: str, side: str, subsystem: int) -> "Block":
    from ase.units import kcal, mol

    from priorbench.datasets.blocks import rectangular

    count = len(arrays[f"{side}_energies"])
    return rectangular(
        positions=arrays[f"{side}_coords"].astype(np.float64),
        forces=arrays[f"{side}_forces"].astype(np.float64) * (kcal / mol),
        energies=arrays[f"{side}_energies"].astype(np.float64) * (kcal / mol),
        cells=np.zeros((count, 3, 3)),
        atomic_numbers=arrays["nuclear_charges"].astype(np.int16),
        groups=np.arange(count, dtype=np.int32),
        pbc=(False, False, False),
        where=f"rmd17 {molecule}, {side}",
        subsystem=subsystem,
        official=SIDES[side],
    )
