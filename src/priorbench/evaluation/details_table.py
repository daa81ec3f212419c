"""Tables of where finetuned networks err: ``details.csv`` and ``parity.csv``, gathered from the files of each cell.

``details.csv`` has one row per chosen run, ``kind`` and ``key``: the RMSE and MAE (meV/Å) of the force components of
``count`` atoms of the test structures.

    element         key: chemical symbol; all atoms of the element
    part            key: translation, rotation, internal; that part of the error on all atoms of intact molecules
                    (:mod:`priorbench.evaluation.parts` says what adds up)
    hydrogen_bonds  key: number donated and accepted by the molecule; all atoms of intact water molecules with so many

``parity.csv`` has a sample of force components (eV/Å) and the energies per atom (eV/atom, less that of the
composition) of the test structures, as labelled and as predicted.  A run that diverged has rows in neither.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from priorbench.errors import PriorbenchError
from priorbench.io import read_json, write_rows, write_text

KINDS = ("element", "part", "hydrogen_bonds")
RUN = ("dataset", "backbone", "strategy", "seed")
COLUMNS = (*RUN, "kind", "key", "count", "rmse", "mae")
DECIMALS = {"force": 5, "energy": 7}  # of eV/Å and eV/atom
PARITY_COLUMNS = (*RUN, "quantity", "reference", "predicted")

Record = Mapping[str, Any]
_Error = Annotated[float, Field(ge=0)]


class _Row(BaseModel, strict=True, extra="forbid"):
    kind: str
    key: str
    count: Annotated[int, Field(ge=0)]
    rmse: _Error
    mae: _Error


class _Parity(BaseModel, strict=True):
    reference: list[float]
    predicted: list[float]


class _Run(BaseModel, strict=True):
    strategy: str
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    rows: list[_Row]
    parity: dict[str, _Parity]


class _Cell(BaseModel, strict=True):
    dataset: str
    backbone: str
    runs: list[_Run]


def write_cell(path: Path, dataset: str, backbone: str, runs: Sequence[Record]) -> None:
    """Write the details of the chosen ``runs`` of a dataset and backbone."""
    content = {"dataset": dataset, "backbone": backbone, "runs": sorted(runs, key=lambda r: (r["strategy"], r["seed"]))}
    write_text(path, json.dumps(content, allow_nan=False) + "\n")


def collect_details(paths: Sequence[Path], details_csv: Path, parity_csv: Path) -> None:
    """Write the rows of all cells to two tables, sorted; a run that is there twice is refused."""
    rows: list[Record] = []
    parity: list[Record] = []
    seen: dict[tuple[Any, ...], Path] = {}
    for path, cell in sorted(((path, _read(path)) for path in paths), key=lambda pair: _place(pair[1])):
        for run in cell["runs"]:
            key = dict(zip(RUN, (*_place(cell), run["strategy"], run["seed"]), strict=True))
            label = tuple(key.values())
            if label in seen:
                raise PriorbenchError(f"{path}: {'/'.join(map(str, label))} is in {seen[label]} already; give it once")
            seen[label] = path
            rows += [{**key, **row} for row in run["rows"]]
            for quantity, values in run["parity"].items():
                pairs = zip(values["reference"], values["predicted"], strict=True)
                parity += [{**key, "quantity": quantity, "reference": r, "predicted": p} for r, p in pairs]
    write_rows(details_csv, rows, COLUMNS)
    write_rows(parity_csv, parity, PARITY_COLUMNS)


def _place(cell: Record) -> tuple[str, str]:
    return cell["dataset"], cell["backbone"]


def _read(path: Path) -> Record:
    content = read_json(path)
    try:
        _Cell.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise PriorbenchError(
            f"{path}: not written by `priorbench details` ({where}: {first['msg']}); make it again"
        ) from None
    cell: Record = content
    for run in cell["runs"]:
        if any(len(values["reference"]) != len(values["predicted"]) for values in run["parity"].values()):
            raise PriorbenchError(f"{path}: a reference has no prediction; make it again")
    return cell
