"""The commands of every stage on the smallest input there is, and what each of them declares to write."""

import contextlib
import errno
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from matplotlib.figure import Figure

from priorbench.cli import main
from priorbench.io import write_rows
from priorbench.runs import CHECKPOINT, PROGRESS
from tests.analysis import simulate
from tests.conftest import water_box
from tests.faults.layer import Faults, faults
from tests.training.conftest import from_mask, spec, write_inputs

TIMES = ("seconds", "structures_per_s", "time", "attempts")
#: Beside a training's outputs until it is done; each is whole or absent as well.
MEANWHILE = (CHECKPOINT, PROGRESS, "metrics.csv")
ANSWERED = Path(__file__).parents[2] / "results/reference/questions/q2"
KINDS = (errno.ENOSPC, errno.EIO, errno.EACCES)


@dataclass
class Stage:
    """One command: what it needs is prepared in a folder, what it writes is below ``out`` in it."""

    name: str
    prepare: Callable[[Path], None]
    command: Callable[[Path], list[Any]]
    meanwhile: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def run(stage: Stage, folder: Path) -> tuple[int, str]:
    """Exit code and what it said on standard error."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main([str(word) for word in stage.command(folder)])
    return code, said.getvalue()


def written(folder: Path) -> dict[str, bytes]:
    """Everything below ``folder/out``, clocks left out of what is JSON or CSV."""
    found = sorted(path for path in (folder / "out").rglob("*") if path.is_file())
    return {str(path.relative_to(folder / "out")): _content(path) for path in found}


def _content(path: Path) -> bytes:
    if path.name in ("run.json", PROGRESS):
        content = json.loads(path.read_text())
        return json.dumps({key: value for key, value in content.items() if not _clock(key)}).encode()
    if path.name == "metrics.csv":
        header, *rows = (line.split(",") for line in path.read_text().splitlines())
        kept = [i for i, name in enumerate(header) if not _clock(name)]
        return "\n".join(",".join(row[i] for i in kept) for row in (header, *rows)).encode()
    return path.read_bytes()


def _clock(name: str) -> bool:
    return name.endswith(TIMES)


def fail_at(stage: Stage, folder: Path, whole: dict[str, bytes], at: int, number: int) -> Faults:
    """Fail the ``at``-th operation and check what is left, then run again to the very bytes of ``whole``."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    with faults(folder, at, number) as found:
        code, said = run(stage, folder)
    where = f"{stage.name}, {errno.errorcode[number]} at operation {at}: {found.hit}\n{said}"
    if found.hit is None:
        assert code == 0, where
        return found
    if code:
        assert code == 1, where
        assert said.count("\n") == 1, where
        assert said.startswith(f"priorbench {stage.name}: "), where
        assert "Traceback" not in said, where
        assert "/." not in said.replace("/.lock", ""), where  # no temporary name, which says nothing to anybody
    left = written(folder)
    unremovable = found.hit[0] == "unlink" and Path(found.hit[1]).name
    for name, content in left.items():
        base = Path(name).name
        if base == unremovable:
            (folder / "out" / name).unlink()
        elif base in stage.meanwhile:
            _check_meanwhile(base, content, whole.get(name), where)
        else:
            assert content == whole.get(name), f"{name} {where}"
    if code == 0:
        assert set(left) - {unremovable} == set(whole), where
    code, said = run(stage, folder)
    assert code == 0, where + said
    assert written(folder) == whole, where
    return found


def _check_meanwhile(name: str, content: bytes, whole: bytes | None, where: str) -> None:
    if name == PROGRESS:
        json.loads(content)
    elif name == "metrics.csv" and whole is not None:
        assert whole.startswith(content.rstrip()), where


def own_structures(path: Path) -> None:
    """Six boxes of water with labels, as a user's own file."""
    random, structures = np.random.default_rng(0), []
    for _ in range(6):
        positions, cell, numbers = water_box(random)
        atoms = Atoms(numbers, positions=positions, cell=cell, pbc=True)
        labels = {"energy": random.normal(-5.0, 1.0), "forces": random.normal(scale=0.7, size=(len(numbers), 3))}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        structures.append(atoms)
    write(path, structures, format="extxyz")


def simulated(root: Path) -> Path:
    """Runs, tables and verdicts of a simulated experiment, written in ``root``."""
    backbones = {"gns": "vector"}
    simulate.Simulation(backbones=backbones, epochs=4, pretrain_epochs=2, groups=3).write(root / "runs")
    for name in ("collect", "statistics", "claims"):
        stage = next(stage for stage in stages(root) if stage.name == name)
        assert run(stage, root) == (0, "")
        for path in (root / "out").iterdir():
            shutil.move(path, root / path.name)
    return root


def stages(analysed: Path) -> list[Stage]:
    """Every stage; ``analysed`` holds runs.csv, curves.csv and statistics.json of a simulated experiment."""
    evidence = json.dumps({"structure_steps": 1000, "seeds": 3})
    tables = ["--runs-csv", analysed / "runs.csv", "--curves-csv", analysed / "curves.csv"]
    judged = ["--statistics", analysed / "statistics.json"]
    split = {"train": 0.6, "validation": 0.2, "separation": None, "seed": 0}
    split |= dict.fromkeys(("max_train", "max_validation", "max_test"))

    def data(folder: Path) -> list[Any]:
        files = ("frames.safetensors", "neighbours.safetensors", "split.json")
        return [w for f in files for w in (f"--{f.split('.')[0]}", folder / f)]

    def dataset(folder: Path) -> list[str]:
        return [
            "--dataset",
            json.dumps({"name": "own", "source": "extxyz", "options": {"path": str(folder / "own.xyz")}}),
        ]

    def acquired(folder: Path) -> None:
        own_structures(folder / "own.xyz")
        part = ["--part", "structures", "--output", str(folder / "structures.npz")]
        assert main(["acquire", *dataset(folder), *part]) == 0

    def pretrained(folder: Path) -> None:
        write_inputs(folder)
        given = ["--spec", json.dumps(spec("pretrain")), *map(str, data(folder))]
        assert main(["pretrain", *given, "--output", str(folder / "pretrained")]) == 0

    def trained(folder: Path) -> None:
        write_inputs(folder)
        given = ["--spec", json.dumps(spec()), *map(str, data(folder))]
        assert main(["finetune", *given, "--output", str(folder / "trained")]) == 0
        own = spec()
        run = {"dataset": own["dataset"], "backbone": own["backbone"]["name"], "strategy": own["strategy"]}
        write_rows(folder / "trials.csv", [{**run, "seed": own["seed"], "trial": 1, "chosen": 1}])

    def divided(folder: Path) -> None:
        acquired(folder)
        frames = str(folder / "frames.safetensors")
        assert main(["convert", *dataset(folder), "--parts", str(folder / "structures.npz"), "--output", frames]) == 0
        given = ["--frames", frames, "--spec", json.dumps(split)]
        assert main(["split", *given, "--output", str(folder / "split.json")]) == 0

    def nothing(folder: Path) -> None:
        folder.mkdir(exist_ok=True)

    def reported(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for name in ("runs.csv", "curves.csv", "statistics.json", "claims.json", "claims.md"):
            shutil.copy(analysed / name, folder)

    runs = sorted(path.parent for path in (analysed / "runs").rglob("run.json"))
    often = {"PRIORBENCH_CHECKPOINT_SECONDS": "0"}  # after every step
    return [
        Stage("acquire", lambda f: own_structures(f / "own.xyz"), lambda f: [
            "acquire", *dataset(f), "--part", "structures", "--output", f / "out/structures.npz"]),
        Stage("convert", acquired, lambda f: [
            "convert", *dataset(f), "--parts", f / "structures.npz", "--output", f / "out/frames.safetensors"]),
        Stage("neighbours", write_inputs, lambda f: [
            "neighbours", "--frames", f / "frames.safetensors", "--cutoff", 3.4, "--output", f / "out/n.safetensors"]),
        Stage("split", write_inputs, lambda f: [
            "split", "--frames", f / "frames.safetensors", "--spec", json.dumps(split), "--output", f / "out/s.json"]),
        Stage("pretrain", write_inputs, lambda f: [
            "pretrain", "--spec", json.dumps(spec("pretrain")), *data(f), "--output", f / "out"], MEANWHILE, often),
        Stage("finetune", pretrained, lambda f: [
            "finetune", "--spec", json.dumps(from_mask()), *data(f), "--parent", f / "pretrained/model.safetensors",
            "--output", f / "out"], MEANWHILE, often),
        Stage("collect", nothing, lambda f: [
            "collect", "--runs", *runs, "--runs-csv", f / "out/runs.csv", "--curves-csv", f / "out/curves.csv",
            "--structures-csv", f / "out/structures.csv", "--trials-csv", f / "out/trials.csv"]),
        Stage("statistics", nothing, lambda f: ["statistics", *tables, "--output", f / "out/statistics.json"]),
        Stage("tables", nothing, lambda f: [
            "tables", *tables[:2], *judged, "--evidence", evidence, "--output", f / "out"]),
        Stage("claims", nothing, lambda f: [
            "claims", *tables, *judged, "--evidence", evidence, "--output", f / "out"]),
        Stage("figures", nothing, lambda f: ["figures", *tables, *judged, "--output", f / "out"]),
        Stage("report", reported, lambda f: ["report", "--experiment", f, "--output", f / "out/report.html"]),
        Stage("card", divided, lambda f: [
            "card", "--frames", f / "frames.safetensors", "--splits", f / "split.json", "--output", f / "out"]),
        Stage("details", trained, lambda f: [
            "details", "--models", f / "trained/model.safetensors", "--trials-csv", f / "trials.csv", "--frames",
            f / "frames.safetensors", "--neighbours", f / "neighbours.safetensors", "--splits", f / "split.json",
            "--output", f / "out/cell.json"]),
        Stage("answer", nothing, lambda f: [
            "answer", "--question", "q2", "--evidence", evidence, "--runs-csv", ANSWERED / "runs.csv", "--curves-csv",
            ANSWERED / "curves.csv", "--statistics", ANSWERED / "statistics.json", "--output", f / "out"]),
        Stage("export", trained, lambda f: [
            "export", f / "trained/model.safetensors", "--output", f / "out/potential.pt2"]),
    ]  # fmt: skip


def sketch(figure: Figure, drawn: BytesIO, **options: Any) -> None:
    """In place of ``Figure.savefig``, which takes a second."""
    drawn.write(b"%" * 9000 + bytes(len(figure.axes)))
