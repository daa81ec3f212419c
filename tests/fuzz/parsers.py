"""Every parser of the project by name, with small files that it accepts."""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from ase import Atoms

from priorbench.analysis.chosen import load_chosen
from priorbench.analysis.collect import collect
from priorbench.analysis.records import load_curves, load_details, load_runs, load_structures
from priorbench.analysis.results import load_statistics
from priorbench.analysis.statistics import statistics
from priorbench.config import Training, load_config
from priorbench.datasets.droplet import ARRAYS as DROPLET_ARRAYS
from priorbench.datasets.droplet import Droplet, DropletOptions
from priorbench.datasets.extxyz import ExtXYZ, ExtXYZOptions
from priorbench.datasets.pins import read_pins
from priorbench.datasets.revpbe0_d3 import RevPBE0D3, RevPBE0D3Options, read_folder
from priorbench.datasets.rmd17 import RMD17, RMD17Options
from priorbench.datasets.rpbe_d3 import ARCHIVE, RPBED3, RPBED3Options, _stated
from priorbench.datasets.runner import BOHR, HARTREE, read_runner
from priorbench.datasets.tarball import unpack_member
from priorbench.datasets.tip3p import ARRAYS as TIP3P_ARRAYS
from priorbench.datasets.tip3p import TIP3P, TIP3POptions
from priorbench.errors import PriorbenchError
from priorbench.evaluation.details_table import collect_details, write_cell
from priorbench.frames import Frames
from priorbench.io import write_rows
from priorbench.neighbours import Neighbours, build
from priorbench.potential.calculator import load_potential
from priorbench.potential.domain import Domain
from priorbench.questions.experiment import PROBE_COLUMNS, load_probes
from priorbench.splits import load_split
from priorbench.tensors import map_tensors, read_tensors, write_tensors
from priorbench.training.checkpoint import REJECTED, Keeper
from priorbench.training.data import Inputs
from priorbench.training.labels import Labels
from priorbench.training.model import checksum, load_model, save_model, snapshot
from priorbench.training.optimiser import Adam
from priorbench.training.progress import Epoch, Outcome
from priorbench.training.run import budget_steps
from tests.conftest import WATER, make_frames, random_rotation
from tests.fuzz.harness import Subject
from tests.fuzz.invariants import check_frames
from tests.fuzz.mutations import (
    Mutation,
    damaged,
    edited_json,
    edited_npy,
    edited_npz,
    edited_safetensors,
    edited_text,
    edited_yaml,
)
from tests.networks import network

Make = Callable[[Path], Subject]
COUNT = 4  # structures in every small dataset
BYTES, TEXT, JSON = (damaged,), (damaged, edited_text), (damaged, edited_text, edited_json)
NPZ, NPY, TENSORS = (
    (damaged, edited_npz, edited_npz),
    (damaged, edited_npy),
    (damaged, edited_safetensors, edited_safetensors),
)


def waters(seed: int = 0) -> list[np.ndarray]:
    """Two water molecules each, 3 Å apart in a cell of 6 Å, (COUNT, 6, 3) Å."""
    random = np.random.default_rng(seed)
    return [
        np.concatenate([WATER @ random_rotation(random).T + place for place in ([1.5] * 3, [4.5, 4.5, 1.5])])
        for _ in range(COUNT)
    ]


ELEMENTS = np.array([8, 1, 1] * 2, np.int16)
SYMBOLS = "OHHOHH"
CELL = 6.0


def labels(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Forces (COUNT, 6, 3) eV/Å and energies (COUNT,) eV."""
    random = np.random.default_rng(seed)
    return random.normal(0, 0.7, (COUNT, 6, 3)), random.normal(-930.0, 0.3, COUNT)


def one(path: Path, mutations: Sequence[Mutation], read: Callable[[], None]) -> Subject:
    """A subject of a single file."""
    return Subject({path: mutations}, read)


def runner(folder: Path) -> Subject:
    path, part = folder / "input.data", folder / "RPBE.npz"
    forces, energies = labels()
    lines = []
    for x, f, e in zip(waters(), forces * BOHR / HARTREE, energies / HARTREE, strict=True):
        lines += ["begin", "comment two molecules"]
        lines += ["lattice " + " ".join(f"{v:.5f}" for v in row) for row in np.eye(3) * CELL / BOHR]
        for place, symbol, force in zip(x / BOHR, SYMBOLS, f, strict=True):
            a, b = (" ".join(f"{v:.5f}" for v in vector) for vector in (place, force))
            lines.append(f"atom {a} {symbol} 0.0 0.0 {b}")
        lines += [f"energy {e:.6f}", "charge 0.0", "end"]
    path.write_text("\n".join(lines) + "\n")
    source = RPBED3(RPBED3Options(functional="RPBE"))

    def read() -> None:
        with path.open(encoding="utf-8", errors="replace") as text:
            arrays = read_runner(text, "input.data")
        np.savez(part, **arrays, sha256="")
        check_frames(source.convert({"RPBE": part}))

    return one(path, TEXT, read)


def runner_part(folder: Path) -> Subject:
    runner(folder).read()
    path = folder / "RPBE.npz"
    source = RPBED3(RPBED3Options(functional="RPBE"))
    return one(path, NPZ, lambda: check_frames(source.convert({"RPBE": path})))


def deepmd(folder: Path) -> Subject:
    name, part = "classical_ice", folder / "classical_ice.npz"
    forces, energies = labels()
    contents = {
        "box": np.tile(np.eye(3).ravel() * CELL, (COUNT, 1)),
        "coord": np.array(waters()).reshape(COUNT, -1),
        "energy": energies,
        "force": forces.reshape(COUNT, -1),
    }
    files = {f"{name}/set.000/{key}.npy": folder / f"{key}.npy" for key in contents}
    files |= {f"{name}/{key}.raw": folder / f"{key}.raw" for key in ("type", "type_map")}
    for key, array in contents.items():
        np.save(folder / f"{key}.npy", array)
    (folder / "type.raw").write_text("0 1 1 0 1 1\n")
    (folder / "type_map.raw").write_text("O\nH\n")
    source = RevPBE0D3(RevPBE0D3Options(subsystems=[name]))

    def read() -> None:
        np.savez(part, **read_folder(name, files), part=name)
        check_frames(source.convert({name: part}))

    return Subject({path: NPY if path.suffix == ".npy" else TEXT for path in files.values()}, read)


def deepmd_part(folder: Path) -> Subject:
    deepmd(folder).read()
    path = folder / "classical_ice.npz"
    source = RevPBE0D3(RevPBE0D3Options(subsystems=["classical_ice"]))
    return one(path, NPZ, lambda: check_frames(source.convert({"classical_ice": path})))


def rmd17(folder: Path) -> Subject:
    """Both sides of a molecule as they are fetched, then packed and converted."""
    part = folder / "ethanol.npz"
    forces, energies = labels()
    for seed, side in enumerate(("train", "test")):
        coords = np.array(waters(seed))
        arrays = {"nuclear_charges": ELEMENTS.astype(np.uint8), "coords": coords, "energies": energies * 23.06}
        np.savez(folder / f"{side}.npz", **arrays, forces=forces * 23.06)
    sides = {side: folder / f"{side}.npz" for side in ("train", "test")}
    source = RMD17(RMD17Options(molecules=["ethanol"]))
    source._fetch = lambda part, side, mirror: sides[side]  # type: ignore[method-assign]

    def read() -> None:
        source.acquire("ethanol", None, part)
        check_frames(source.convert({"ethanol": part}))

    return Subject(dict.fromkeys(sides.values(), NPZ), read)


def rmd17_part(folder: Path) -> Subject:
    rmd17(folder).read()
    path, source = folder / "ethanol.npz", RMD17(RMD17Options(molecules=["ethanol"]))
    return one(path, NPZ, lambda: check_frames(source.convert({"ethanol": path})))


def tip3p(folder: Path) -> Subject:
    options = TIP3POptions(molecules=8, density=0.3, trajectories=2, frames=COUNT, smoke=True, equilibration_ps=2)
    source, random = TIP3P(options), np.random.default_rng(0)
    paths = {part: folder / f"{part}.npz" for part in source.parts()}
    places = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3) * options.box / 2
    for path in paths.values():
        boxes = [np.concatenate([WATER @ random_rotation(random).T + p for p in places]) for _ in range(COUNT)]
        arrays = {
            "positions": np.array(boxes) / 10,
            "forces": random.normal(0, 600, (COUNT, 24, 3)),
            "energies": random.normal(-300, 5, COUNT),
            "box": np.array(options.box / 10),
            "temperatures": random.normal(300, 30, COUNT),
            "equilibration_energies": random.normal(-300, 5, 10),
            "equilibration_temperatures": random.normal(300, 30, 10),
        }
        assert set(arrays) == set(TIP3P_ARRAYS)
        np.savez(path, **arrays, openmm="8")
    return Subject(dict.fromkeys(paths.values(), NPZ), lambda: check_frames(source.convert(paths)))


def droplet(folder: Path) -> Subject:
    source, random = Droplet(DropletOptions(molecules=2, droplets=2, frames=COUNT)), np.random.default_rng(0)
    paths = {part: folder / f"{part}.npz" for part in source.parts()}
    for seed, path in enumerate(paths.values()):
        arrays = {
            "positions": np.array(waters(seed)) / 10,
            "forces": random.normal(0, 600, (COUNT, 6, 3)),
            "energies": random.normal(-20, 5, COUNT),
            "temperatures": random.normal(250, 30, COUNT),
        }
        assert {*arrays, "openmm"} == set(DROPLET_ARRAYS)
        np.savez(path, **arrays, openmm="8")
    return Subject(dict.fromkeys(paths.values(), NPZ), lambda: check_frames(source.convert(paths)))


def extxyz(folder: Path) -> Subject:
    path, part = folder / "own.xyz", folder / "structures.npz"
    forces, energies = labels()
    lines = []
    for x, f, e in zip(waters(), forces, energies, strict=True):
        lattice = " ".join(f"{v:g}" for v in (np.eye(3) * CELL).ravel())
        properties = 'Properties=species:S:1:pos:R:3:forces:R:3 pbc="T T T"'
        lines += ["6", f'Lattice="{lattice}" {properties} energy={e:.5f} source=a']
        for symbol, row in zip(SYMBOLS, np.hstack([x, f]), strict=True):
            lines.append(f"{symbol} " + " ".join(f"{v:.5f}" for v in row))
    path.write_text("\n".join(lines) + "\n")
    source = ExtXYZ(ExtXYZOptions(path=str(path)))

    def read() -> None:
        source.acquire("structures", None, part)
        check_frames(source.convert({"structures": part}))

    return one(path, TEXT, read)


def extxyz_part(folder: Path) -> Subject:
    extxyz(folder).read()
    path, source = folder / "structures.npz", ExtXYZ(ExtXYZOptions(path="own.xyz"))
    return one(path, NPZ, lambda: check_frames(source.convert({"structures": path})))


CONFIG = """experiment: fuzzed
seeds: [0, 1]
datasets:
  water: {source: tip3p, molecules: 64, trajectories: 3, frames: 2, equilibration_ps: 2, smoke: true}
split: {train: 0.5, validation: 0.25}
backbones:
  gns: {architecture: gns, cutoff: 3.5, layers: 1, width: 8}
pretraining:
  mask: {task: masking, ratio: 0.5, training: &training {epochs: 2, batch_size: 4, learning_rate: 1.0e-3}}
finetuning:
  task: potential
  training: *training
strategies:
  scratch: {}
  longer-steps: {longer: steps, matching: mask}
  mask: {pretraining: mask}
"""


def configuration(folder: Path) -> Subject:
    path = folder / "config.yaml"
    path.write_text(CONFIG)

    def read() -> None:
        config = load_config(path)
        json.dumps(config.model_dump(mode="json"), allow_nan=False)  # it is passed on as JSON

    return one(path, (damaged, edited_yaml, edited_yaml, edited_yaml), read)


KEY = {"dataset": "water", "backbone": "gns", "seed": 0}
METRICS = (
    "epoch,step,seconds,learning_rate,train_loss,val_loss,val_force_rmse,val_energy_rmse,grad_norm,structures_per_s\n"
)


def run_folders(folder: Path) -> list[Path]:
    """The runs of a small experiment: scratch, longer and mask with its pretraining, two seeds."""
    found = []
    strategies = (("scratch", "scratch", None), ("longer", "longer-steps", None), ("mask", "pretrained", "mask"))
    for seed in (0, 1):
        common = {
            **KEY,
            "experiment": "fuzzed",
            "seed": seed,
            "architecture": "gns",
            "readout": "vector",
            "status": "completed",
            "epochs": 2,
            "steps": 6,
            "structure_steps": 12,
            "train_structures": 6,
            "batch_size": 2,
            "learning_rate": 1e-3,
            "flops": 1e9,
            "parameters": 1234,
            "threads": 1,
            "device": "cpu",
            **{name: "0" * 8 for name in ("config_hash", "data_hash", "split_hash", "initial_checksum")},
            "version": "0.1.0",
            "commit": "abc",
            "parent": None,
            "parent_checksum": None,
            "best_epoch": 2,
            "seconds": 3.5,
            "structures_per_s": 4.5,
        }
        pretrained = {
            **common,
            "stage": "pretrain",
            "strategy": "mask",
            "role": "pretraining",
            "task": "masking",
            "pretraining": None,
            "start_checksum": "0" * 8,
            "final_checksum": f"p{seed}",
            "loss_start": 1.0,
            "loss_best": 0.5,
            "floor": 0.479,
        }
        found.append(write_run(folder / f"pretrain-{seed}", pretrained, None))
        for strategy, role, pretraining in strategies:
            run = {
                **common,
                "stage": "finetune",
                "strategy": strategy,
                "role": role,
                "task": pretraining and "masking",
                "pretraining": pretraining,
                "start_checksum": f"p{seed}" if pretraining else "0" * 8,
                "final_checksum": f"{strategy}{seed}",
                "val_force_rmse": 500.25,
                "val_energy_rmse": 4.5,
                "trivial_val_force_rmse": 2000.0,
                "settings": "{}",
            }
            errors = {"force_rmse": 500.0 + seed, "force_mae": 350.0, "energy_rmse": 5.25, "energy_mae": 4.0}
            structures = [
                {"structure": s, "group": s // 2, "atoms": 6, "force_rmse": 500.0 + seed, "energy_error": -5.25}
                for s in range(10)
            ]
            test = {"structures": 10, **errors, **{f"trivial_{k}": 4 * v for k, v in errors.items()}}
            found.append(write_run(folder / f"{strategy}-{seed}", run, {**test, "per_structure": structures}))
    return found


def write_run(path: Path, run: dict[str, Any], test: dict[str, Any] | None) -> Path:
    path.mkdir()
    (path / "run.json").write_text(json.dumps(run))
    rows = [f"{e},{3 * e},{1.5 * e},0.001,,0.5,{900 - 200 * e}.25,5.5,1.5,4.0" for e in range(3)]
    (path / "metrics.csv").write_text(METRICS + "\n".join(rows) + "\n")
    if test:
        (path / "test.json").write_text(json.dumps(test))
    return path


TABLES = ("runs.csv", "curves.csv", "structures.csv", "trials.csv")


def records(folder: Path) -> Subject:
    """Run folders, as they are collected; what is collected is what statistics are made of."""
    runs = run_folders(folder)
    tables = [folder / name for name in TABLES]
    watched = [folder / name for name in ("mask-0", "scratch-1", "pretrain-0")]

    def read() -> None:
        collect(runs, *tables)
        statistics(*tables[:2], folder / "statistics.json", tables[2])
        check_tables(*tables[:3])

    return Subject({path: JSON if path.suffix == ".json" else TEXT for run in watched for path in run.iterdir()}, read)


def tables(folder: Path) -> Subject:
    """The collected tables, as statistics are made of them."""
    records(folder).read()
    paths = [folder / name for name in TABLES[:3]]

    def read() -> None:
        statistics(*paths[:2], folder / "statistics.json", paths[2])
        check_tables(*paths)

    return Subject(dict.fromkeys(paths, TEXT), read)


def check_tables(runs_csv: Path, curves_csv: Path, structures_csv: Path) -> None:
    """Assert that no number is impossible in tables that were accepted."""
    runs, curves, structures = load_runs(runs_csv), load_curves(curves_csv), load_structures(structures_csv)
    done = runs[runs["status"] == "completed"]
    errors = done.loc[done["stage"] == "finetune", ["test_force_rmse", "test_energy_rmse", "val_force_rmse"]]
    assert ((errors > 0) & (errors < np.inf)).all(axis=None)
    assert not runs.duplicated(["dataset", "backbone", "stage", "strategy", "seed"]).any()
    for table in (runs, curves, structures):
        numbers = table.select_dtypes("number")
        assert table is curves or not np.isinf(numbers).any(axis=None)  # a diverging loss is infinite
        counts = table.select_dtypes("int64")
        assert (counts >= 0).all(axis=None)


def results(folder: Path) -> Subject:
    records(folder).read()
    path = folder / "statistics.json"
    return one(path, JSON, lambda: check_statistics(path))


def check_statistics(path: Path) -> None:
    """Assert that what was read can be worked with."""
    found = load_statistics(path)
    for result in found.strategies:
        assert result.completed >= 0
        assert all(value > 0 for estimate in result.errors.values() for value in estimate.values)
        assert result.trained("force_rmse") is not None
    for comparison in found.comparisons:
        assert isinstance(comparison.survives, bool)


def split_file(folder: Path) -> Subject:
    frames, path = small_frames(folder), folder / "split.json"
    sides = {"train": [0, 2], "validation": [1], "test": [3]}
    path.write_text(json.dumps({"frames": frames.metadata["hash"], "seed": 0, **sides, "groups": {}}))

    def read() -> None:
        found = load_split(path, frames.metadata["hash"], frames)
        assert all(len(found[side]) and (found[side] < COUNT).all() for side in sides)

    return one(path, JSON, read)


def small_frames(folder: Path) -> Frames:
    """Four boxes of one molecule, on disk."""
    path = folder / "frames.safetensors"
    make_frames(COUNT, side=1).save(path)
    return Frames.load(path)


def frames_file(folder: Path) -> Subject:
    kept, path = small_frames(folder).hash(), folder / "frames.safetensors"

    def read() -> None:
        frames = Frames.load(path, verify=True)
        check_frames(frames)
        assert frames.hash() == kept

    return one(path, TENSORS, read)


def neighbours_file(folder: Path) -> Subject:
    frames, path = small_frames(folder), folder / "neighbours.safetensors"
    build(folder / "frames.safetensors", 3.4, path)
    kept = Neighbours.load(path, frames.metadata["hash"], 3.4)

    def read() -> None:
        found = Neighbours.load(path, frames.metadata["hash"], 3.4)
        for s in range(COUNT):
            for a, b in zip(*(n.edges_of(frames.offsets, s) for n in (found, kept)), strict=True):
                np.testing.assert_array_equal(a, b)

    return one(path, TENSORS, read)


SPEC = {"name": "small", "architecture": "gns", "cutoff": 3.4, "layers": 1, "width": 4}


def checkpoint(folder: Path) -> Subject:
    """A damaged checkpoint is said to be so and changes nothing; one that is restored is the one that was saved."""
    model = network(SPEC)
    optimiser = Adam(model.parameters(), Training(epochs=2, batch_size=2, learning_rate=1e-3))
    keeper = Keeper(folder, "identity", SimpleNamespace(check=lambda: None))  # type: ignore[arg-type]
    rows = [{"epoch": 0, "step": 0, "val_loss": 2.5}, {"epoch": 1, "step": 3, "val_loss": float("inf")}]
    outcome = Outcome(snapshot(network(SPEC, 1)), rows, rows[1], 4, 6, 9, 1.25)
    draws = torch.Generator().manual_seed(3)
    losses, norms = [[torch.tensor(float(k))] for k in (4, 5)]
    keeper.save(model, optimiser, outcome, Epoch(2, draws, 1, 2, 0.5, 1e-3, losses, norms))
    rejected, untouched = folder / REJECTED, network(SPEC, 2)
    before = checksum(snapshot(untouched))

    def read() -> None:
        found = keeper.restore(untouched, optimiser)
        if found is None or isinstance(found, str):
            assert checksum(snapshot(untouched)) == before
            assert rejected.exists()
            rejected.unlink()
            raise PriorbenchError(str(found))
        restored, epoch = found
        assert checksum(snapshot(untouched)) == checksum(snapshot(model))
        untouched.load_state_dict(network(SPEC, 2).state_dict())
        assert checksum(restored.state) == checksum(outcome.state)
        assert (restored.rows, restored.best, restored.steps) == (rows, rows[1], 4)
        assert (restored.planned_steps, restored.structure_steps, restored.seconds) == (6, 9, 1.25)
        assert (restored.diverged, restored.attempts, restored.validation_seconds) == (None, 1, 0.0)
        assert (epoch.number, epoch.batches, epoch.structures, epoch.seconds, epoch.learning_rate) == (
            2,
            1,
            2,
            0.5,
            1e-3,
        )
        assert (epoch.losses, epoch.norms) == (losses, norms)
        assert torch.equal(epoch.draws.get_state(), draws.get_state())

    return one(keeper.path, TENSORS, read)


def arrays_file(folder: Path) -> Subject:
    """Both readers of tensors agree on every file, or refuse it."""
    path = folder / "arrays.safetensors"
    write_tensors(path, {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros((0, 3), np.int8)}, {"hash": "x", "n": [1, 2]})

    def read() -> None:
        (whole, metadata), (mapped, other) = read_tensors(path), map_tensors(path)
        assert isinstance(metadata, dict)
        assert metadata == other
        for name, array in whole.items():
            assert array.dtype == mapped[name].dtype
            np.testing.assert_array_equal(array, mapped[name])

    return one(path, TENSORS, read)


def model_file(folder: Path) -> Subject:
    """A finetuned network; what is loaded has the weights and the scale of the one that was saved."""
    path, model = folder / "model.safetensors", network(SPEC)
    spec = {"stage": "finetune", "backbone": SPEC, "seed": 0}
    domain = Domain([1, 8], {"1-8": 0.95, "1-1": 1.5}, (3, 3), 4, True, False, {"source": "tests"})
    metadata = {
        "spec": spec,
        "status": "completed",
        "labels": Labels((0.0, -1.5, *(0.0,) * 117), 0.75).to_json(),
        "domain": domain.to_json(),
    }
    save_model(path, snapshot(model), metadata)
    water = Atoms("OHH", WATER, cell=np.eye(3) * 9, pbc=True)
    energy = load_potential(path).get_potential_energy(water)

    def read() -> None:
        load_model(path)
        assert load_potential(path).get_potential_energy(water) == energy

    return one(path, TENSORS, read)


def budget(folder: Path) -> Subject:
    """The record of a pretraining, whose cost a longer run spends."""
    path, given = folder / "run.json", folder / "x"
    path.write_text(json.dumps({"planned_steps": 12, "steps": 12, "flops": 1e9, "seed": 0, "stage": "pretrain"}))
    spec = {"strategy": "longer", "longer": {"by": "compute", "times": None}}
    training = Training(epochs=2, batch_size=2, learning_rate=1e-3)

    def read() -> None:
        steps = budget_steps(spec, Inputs(given, given, given, budget=path), training, 6, 1e7)
        assert isinstance(steps, int)
        assert 0 < steps < 2**53

    return one(path, JSON, read)


def archive(folder: Path) -> Subject:
    path, output = folder / "data.tar.gz", folder / "input.data"
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as content:
        for name in ("data/README", "data/input.data"):
            entry = tarfile.TarInfo(name)
            entry.size = 300
            content.addfile(entry, io.BytesIO(bytes(range(100)) * 3))
    plain = stream.getvalue()
    path.write_bytes(gzip.compress(plain, 1, mtime=0))

    def inside(random: Random, data: bytes) -> bytes:
        return gzip.compress(damaged(random, plain), 1, mtime=0)

    def read() -> None:
        unpack_member(path, "data/input.data", output)
        assert sorted(folder.iterdir()) == [path, output]
        output.unlink()

    return one(path, (damaged, inside, inside), read)


def record_of_files(folder: Path) -> Subject:
    """What the server that keeps an archive says of it."""
    path = folder / "record.json"
    files = [{"key": ARCHIVE, "size": 1000, "checksum": "md5:" + "0" * 32}, {"key": "other", "size": 1}]
    path.write_text(json.dumps({"files": files}))

    def read() -> None:
        size, checksum = _stated(path.read_bytes())
        assert type(size) is int
        assert size > 0
        assert checksum.partition(":")[0] in ("md5", "sha256")

    return one(path, JSON, read)


def lock_file(folder: Path) -> Subject:
    path = folder / "data.lock.json"
    path.write_text(json.dumps({"https://example.org/a": {"size": 10, "sha256": "0" * 64}}))

    def read() -> None:
        with mock.patch.dict(os.environ, PRIORBENCH_LOCK=str(path)):
            found = read_pins()
        assert all(type(pin.size) is int and pin.size >= 0 and len(pin.sha256) == 64 for pin in found.values())

    return one(path, JSON, read)


def details(folder: Path) -> Subject:
    """Cells of details, collected and read."""
    path, tables = folder / "cell.json", (folder / "details.csv", folder / "parity.csv")
    row = {"kind": "element", "key": "H", "count": 4, "rmse": 50.0, "mae": 40.0}
    parity = {"force": {"reference": [0.5, 1.0], "predicted": [0.4, 1.1]}}
    write_cell(path, "water", "gns", [{"strategy": "mask", "seed": 0, "rows": [row], "parity": parity}])

    def read() -> None:
        collect_details([path], *tables)
        found = load_details(tables[0])
        assert (found[["rmse", "mae"]] >= 0).all(axis=None)
        assert np.isfinite(found[["rmse", "mae"]]).all(axis=None)

    return one(path, JSON, read)


def trials(folder: Path) -> Subject:
    path = folder / "trials.csv"
    keys = dict(dataset="water", backbone="gns", strategy="mask")
    write_rows(path, [{**keys, "seed": seed, "trial": t, "chosen": int(t == 2)} for seed in (0, 1) for t in (1, 2)])

    def read() -> None:
        found = load_chosen(path)
        assert len({trial[:4] for trial in found}) == len(found) > 0

    return one(path, TEXT, read)


def probes(folder: Path) -> Subject:
    path = folder / "probes.csv"
    rows = [",".join(PROBE_COLUMNS)]
    for seed in (0, 1):
        values = {"dataset": "water", "backbone": "gns", "seed": str(seed), "stage": "pretrain", "strategy": "mask"}
        rows.append(",".join(values.get(name, "0.5") for name in PROBE_COLUMNS))
    path.write_text("\n".join(rows) + "\n")

    def read() -> None:
        table = load_probes(path)
        assert all(not np.isinf(table[name]).any() for name in table.select_dtypes("number"))

    return one(path, TEXT, read)


PARSERS: dict[str, Make] = {
    "runner": runner,
    "runner-part": runner_part,
    "deepmd": deepmd,
    "deepmd-part": deepmd_part,
    "rmd17": rmd17,
    "rmd17-part": rmd17_part,
    "tip3p-part": tip3p,
    "droplet-part": droplet,
    "extxyz": extxyz,
    "extxyz-part": extxyz_part,
    "configuration": configuration,
    "records": records,
    "tables": tables,
    "statistics": results,
    "details": details,
    "trials": trials,
    "probes": probes,
    "budget": budget,
    "split": split_file,
    "tensors": arrays_file,
    "frames": frames_file,
    "neighbours": neighbours_file,
    "checkpoint": checkpoint,
    "model": model_file,
    "archive": archive,
    "record-of-files": record_of_files,
    "lock-file": lock_file,
}
