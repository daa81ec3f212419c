"""DFT water of Morawietz and Behler: 16 to 64 molecules, ice and liquid, one archive for four functionals (download).

The archive holds one RuNNer file (Bohr, Hartree) for each functional, molecules not wrapped or split across the cell.
Nobody states its SHA-256, so it is verified by the record's own checksum and pinned when it is first seen; the content
of the functional that the paper uses is checked by its counts and spreads too.
"""

import re
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from priorbench.config import Strict
from priorbench.datasets.archive import STRUCTURES, TEXT, read_npz, write_npz
from priorbench.datasets.base import Expected
from priorbench.datasets.download import GONE
from priorbench.datasets.pins import fetch_pinned, pinned
from priorbench.datasets.runner import in_canonical_units, read_runner
from priorbench.datasets.tarball import unpack_member
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.io import from_json
from priorbench.tensors import Arrays, Layout

if TYPE_CHECKING:
    from priorbench.datasets.blocks import Block

ARCHIVE = "training-data_H2O.tar.gz"
URL = f"https://zenodo.org/record/2634098/files/{ARCHIVE}?download=1"
API = "https://zenodo.org/api/records/2634098"
RELATIVE = f"rpbe_d3/{ARCHIVE}"
ARRAYS: Layout = {**STRUCTURES, "sha256": TEXT}
EXPECTED: dict[str, dict[str, float]] = {  # by functional, in the units and to the digits of SLACK
    "RPBE_D3": {"structures": 7241, "atoms": 588648, "std(F) eV/Å": 1.230, "std(E/atom) meV": 112.1}
}
SLACK = {
    "structures": 0,
    "atoms": 0,
    "std(F) eV/Å": 0.0006,
    "std(E/atom) meV": 0.06,
}  # half of the last digit and a bit
ATTEMPTS, PAUSE, TIMEOUT = 3, 2.0, 20.0  # of asking the record; s between them; s without an answer


class RPBED3Options(Strict):
    """Which structures are used."""

    functional: Literal["RPBE_D3", "RPBE", "BLYP_D3", "BLYP"] = Field(
        "RPBE_D3", description="density functional of the labels; the geometries are much the same"
    )
    intact_only: bool = Field(False, description="leave out structures with an atom outside every intact molecule")
    max_structures: int | None = Field(
        None, ge=1, description="keep at most so many structures, drawn by whole groups with a fixed seed; null: all"
    )


class RPBED3:
    """Source of the paper's DFT frames; see the module's docstring."""

    Options: ClassVar[type[Strict]] = RPBED3Options

    def __init__(self, options: RPBED3Options) -> None:
        self.options = options

    def parts(self) -> list[str]:
        """One part: the functional."""
        return [self.options.functional]

    def expected(self) -> list[Expected] | None:
        """The published counts, at most ``max_structures`` of mean size; None for a functional without them."""
        if (known := EXPECTED.get(self.options.functional)) is None:
            return None
        count = int(known["structures"])
        return [Expected(min(count, self.options.max_structures or count), round(known["atoms"] / count))]

    def options_of(self, part: str) -> Strict:
        """The functional alone: filters come later."""
        return RPBED3Options(functional=self.options.functional)

    def acquire(self, part: str, mirror: Path | None, output: Path) -> None:
        """Fetch the archive, unpack the file of ``part`` alone and write what it says, unconverted, to ``output``."""
        member, arrays = _member(part), dict[str, np.ndarray]()
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.stem}-", dir=output.parent) as folder:

            def look(copy: Path) -> None:
                text = Path(folder) / "input.data"
                unpack_member(copy, member, text)
                with text.open(encoding="utf-8", errors="replace") as lines:
                    arrays.update(read_runner(lines, f"{copy}: {member}"))
                check_content(part, _block(in_canonical_units(arrays), f"{copy}: {member}"))

            archive = fetch_pinned(URL, RELATIVE, mirror, record, look)
            if not arrays:  # what is pinned has been looked at before
                look(archive)
        pin = pinned(URL)
        write_npz(output, **arrays, sha256=np.array(pin.sha256 if pin else ""))

    def convert(self, parts: dict[str, Path]) -> Frames:
        """Frames in the order of the file, near-duplicates in one group, with the options' filters applied."""
        from priorbench.datasets.blocks import assemble, filtered
        from priorbench.datasets.validity import check_block

        ((functional, path),) = parts.items()
        arrays = read_npz(path, ARRAYS)
        metadata = self._metadata(functional, str(arrays.pop("sha256")))
        block = _block(in_canonical_units(arrays), f"rpbe_d3 {functional}")
        check_content(functional, block)
        check_block(block)  # groups are sought among sound structures only
        frames = filtered(assemble([_grouped(block)], metadata), self.options.intact_only, self.options.max_structures)
        if len(frames) == 0:
            raise PriorbenchError(
                f"rpbe_d3 {functional}: no structure is left; raise max_structures (whole groups are drawn) or set "
                "intact_only: false"
            )
        return frames

    def _metadata(self, functional: str, sha256: str) -> dict[str, Any]:
        from priorbench.datasets.groups import WATER

        return {
            "source": "rpbe_d3",
            "description": f"16 to 64 H2O, {functional.replace('_', '-')}, training set of a neural network potential",
            "url": URL,
            "licence": "see the Zenodo record, 10.5281/zenodo.2634098; fetched, never redistributed",
            "citation": "T. Morawietz and J. Behler, 10.5281/zenodo.2634098",
            "nearness": asdict(WATER),
            "units": {"in": "Bohr, Hartree, Hartree/Bohr", "out": "Å, eV, eV/Å"},
            "subsystems": [functional],
            "sha256": {ARCHIVE: sha256},
        }


def record() -> tuple[int, str]:
    """Size in bytes and checksum (``"md5:..."``) of the archive as the Zenodo record states them."""
    import requests

    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * attempt)
        try:
            answer = requests.get(API, timeout=TIMEOUT, headers={"Accept": "application/json"})
        except requests.RequestException as error:
            reason = type(error).__name__
            continue
        if answer.ok:
            return _stated(answer.content)
        reason = f"{answer.status_code} {answer.reason}"
        if answer.status_code in GONE:
            break
    raise PriorbenchError(f"{API}: cannot be asked for the size and checksum of {ARCHIVE} ({reason})")


def check_content(functional: str, block: "Block") -> None:
    """Refuse a file whose counts or spreads are not those of the original."""
    if functional not in EXPECTED:
        return
    found = {
        "structures": len(block.energies),
        "atoms": len(block.atomic_numbers),
        "std(F) eV/Å": float(block.forces.std()),
        "std(E/atom) meV": float((block.energies / np.diff(block.offsets)).std() * 1e3),
    }
    wrong = [
        f"{name} {found[name]:.7g} instead of {expected:.7g}"
        for name, expected in EXPECTED[functional].items()
        if not abs(found[name] - expected) <= SLACK[name]
    ]
    if wrong:
        raise PriorbenchError(
            f"{block.where}: is not the published set ({', '.join(wrong)}); fetch {ARCHIVE} again from {URL}"
        )


def _member(functional: str) -> str:
    return f"training-data_H2O/input.data.{functional}"


def _stated(content: bytes) -> tuple[int, str]:
    try:
        (entry,) = (file for file in from_json(content)["files"] if file["key"] == ARCHIVE)
        size, checksum = entry["size"], entry["checksum"]
        if type(size) is int and size > 0 and re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", checksum):
            return size, checksum
    except (ValueError, KeyError, TypeError):
        pass
    raise PriorbenchError(f"{API}: states no usable size and checksum of {ARCHIVE}; the record or its format changed")


def _block(arrays: Arrays, where: str) -> "Block":
    """The structures, each a group of its own."""
    from priorbench.datasets.blocks import Block

    return Block(
        positions=arrays["positions"],
        forces=arrays["forces"],
        energies=arrays["energies"],
        cells=arrays["cells"],
        pbc=arrays["pbc"],
        atomic_numbers=arrays["atomic_numbers"],
        offsets=arrays["offsets"],
        groups=np.arange(len(arrays["energies"]), dtype=np.int32),
        where=where,
    )


def _grouped(block: "Block") -> "Block":
    from priorbench.datasets.groups import WATER, near_duplicates, with_repeats

    return replace(block, groups=with_repeats(near_duplicates(block, WATER), block))
