"""Training runs as the workflow calls them: pretraining or finetuning from files to files, a finetuned network tested.

The test split never enters training: the stores hold the training and validation structures alone, and the test
structures are read when the weights are kept.  Everything is written at the end of a run, the record last, so that a
run that was cut leaves nothing that a later one would take for good; only the metrics and ``progress.json`` grow epoch
by epoch, for the eyes of whoever waits.  A run that is cut goes on from its checkpoint, and its folder has one writer.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from priorbench import __version__
from priorbench.backbones.base import Backbone
from priorbench.budget import planned_steps
from priorbench.config_sections import Training
from priorbench.errors import PriorbenchError
from priorbench.evaluation.errors import write_test
from priorbench.io import read_json, remove_leftovers, sha256_file, sha256_json, sync_folder, write_json
from priorbench.lock import Lease
from priorbench.potential.domain import Domain
from priorbench.registry import load
from priorbench.runs import CHECKPOINT, PROGRESS, Spec
from priorbench.stop import Interrupted, Stop, noticed
from priorbench.tasks.base import Task
from priorbench.training import record
from priorbench.training.checkpoint import REJECTED, Keeper
from priorbench.training.data import Data, Inputs, Source, fingerprints
from priorbench.training.flops import flops_per_structure
from priorbench.training.loop import Loop, steps_per_epoch
from priorbench.training.model import State, build, checksum, load_parent, save_model, snapshot
from priorbench.training.parallel import Ranks, ranks_from_environment
from priorbench.training.process import gpu_of, prepare_torch
from priorbench.training.progress import Outcome
from priorbench.training.report import Reporter, say, whereabouts, write_progress
from priorbench.training.start import check_unseen, require_parent, start_from

OUTPUTS = ("model.safetensors", "metrics.csv", "run.json", "test.json")
Parent = tuple[State, dict[str, Any]]


def run(spec: Spec, inputs: Inputs, threads: int, output: Path) -> None:
    """Train as ``spec`` says and write ``model.safetensors``, ``metrics.csv`` and ``run.json`` into ``output``.

    Finetuning writes ``test.json`` as well, what :func:`~priorbench.evaluation.errors.evaluate` writes for the model.
    """
    run_all([spec], [inputs], threads, [output])


@dataclass(frozen=True)
class Process:
    """What all runs of a process share."""

    threads: int
    stop: Stop
    ranks: Ranks | None  # the processes it trains together with

    @property
    def writes(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.ranks is None or self.ranks.first

    @property
    def size(self) -> int:
        """Number of processes that train together."""
        return self.ranks.world if self.ranks else 1

    def group(self) -> Ranks | None:
        """The processes, for one training."""
        return self.ranks and Ranks(self.ranks.rank, self.ranks.world)


def run_all(
    specs: Sequence[Spec], inputs: Sequence[Inputs], threads: int, outputs: Sequence[Path], keep: bool = False
) -> None:
    """Do the runs of several seeds one after the other; each leaves the very bytes that it leaves in a process alone.

    Frames and neighbours are loaded and verified once, from the first inputs.  The first run that fails ends all; what
    those before it wrote stays.  Asked to stop (SIGTERM), it saves and raises :class:`~priorbench.stop.Interrupted`;
    called again, it goes on: runs that were done are finished once more from their checkpoints.  Several processes
    started together, by torchrun or srun, share every batch.  Checkpoints go when all is done, unless ``keep``.
    """
    if not len(specs) == len(inputs) == len(outputs):
        raise PriorbenchError(
            f"{len(specs)} seeds, but {len(inputs)} of --split and {len(outputs)} of --output; give one for each seed"
        )
    for spec, files in zip(specs, inputs, strict=True):
        require_parent(spec, files)
    started = time.perf_counter()
    prepare_torch(threads, gpu_of(specs[0]))
    with ExitStack() as held:
        stop = held.enter_context(noticed())
        ranks = ranks_from_environment(specs[0]["device"])
        if ranks is not None:
            held.callback(ranks.leave)
        process = Process(threads, stop, ranks)
        leases = [held.enter_context(Lease(output, stop=stop)) if process.writes else None for output in outputs]
        if ranks is not None:
            ranks.wait()  # until the first has the folders: what it finds there the others must find, too
        if process.writes and (where := whereabouts(specs[0]["device"])):
            print(where, flush=True)
        for output in outputs if process.writes else ():
            for name in (*OUTPUTS, CHECKPOINT, PROGRESS):
                remove_leftovers(output / name)
            write_progress(output, "waiting")
        with _told(outputs, leases):
            source = Source.load(inputs[0], specs[0]["backbone"]["cutoff"], make_task(specs[0]["task"]).reach)
        for spec, files, output, lease in zip(specs, inputs, outputs, leases, strict=True):
            try:
                with _told([output], [lease]):
                    _run(spec, source, files, process, output, lease, started)
            except (PriorbenchError, Interrupted) as error:
                raise type(error)(f"seed {spec['seed']}: {error}") from None
            started = time.perf_counter()
        for output, lease in zip(outputs, leases, strict=True):
            # Who waits for the folder is a copy of this job whose workflow has removed, or will, what is written here.
            if lease is not None and not keep and lease.held() and not lease.wanted():
                sync_folder(output)
                for name in (CHECKPOINT, REJECTED):
                    (output / name).unlink(missing_ok=True)


@contextmanager
def _told(outputs: Sequence[Path], leases: Sequence[Lease | None]) -> Iterator[None]:
    """Whatever ends the block is said in the folders of the runs, as long as they are this process's."""
    try:
        yield
    except BaseException as error:
        state = "cut" if isinstance(error, Interrupted) else "failed"
        for output, lease in zip(outputs, leases, strict=True):
            if lease is None or not lease.held():
                continue
            with suppress(OSError):  # a full disk: what ended the block is what to tell
                write_progress(output, state, message=str(error) or type(error).__name__)
        raise


def _run(
    spec: Spec, source: Source, inputs: Inputs, process: Process, output: Path, lease: Lease | None, started: float
) -> None:
    """One run; ``started`` is when its set-up began, on the clock of ``time.perf_counter``."""
    data = Data.build(source, inputs.split, spec)
    training = Training(**spec["training"])
    task = make_task(spec["task"])
    idle = _idle(spec, task, data)
    model = build(spec["backbone"], spec["seed"])
    _check_elements(model, data)
    initial = checksum(snapshot(model))
    parent = load_parent(inputs.parent, spec) if inputs.parent else None
    if parent is not None:
        check_unseen(inputs, parent[1], spec, data, source)
    model.to(spec["device"])
    if parent is not None:
        start_from(model, parent[0], spec, data, str(inputs.parent))
    start = checksum(snapshot(model))
    flops = flops_per_structure(model, task, data.train, training.batch_size)
    steps = budget_steps(spec, inputs, training, len(data.train), flops)
    epochs = math.ceil(steps / steps_per_epoch(len(data.train), training.batch_size))
    reporter = Reporter(output, data.labels, epochs, spec["seed"], lease)
    keeper = Keeper(output, _identity(spec, data, start, steps), lease)
    loop = Loop(
        model, task, (data.train, data.validation), training, steps, spec["seed"], reporter,
        keeper=keeper, stop=process.stop, ranks=process.group(), gpu=gpu_of(spec),
    )  # fmt: skip
    setup = time.perf_counter() - started
    outcome = _train(loop, spec, reporter, parent)
    if lease is None:
        return
    lease.check()
    content = {
        **record.identity(spec),
        **record.effort(training, outcome, data, flops, process.threads, process.size),
        "setup_seconds": setup,
        "structures_without_loss": idle,
        **record.provenance(spec, data),
        "steps_by": loop.stepper.kind,
        "parameters": sum(p.numel() for p in model.parameters()),
        "initial_checksum": initial,
        "start_checksum": start,
        "final_checksum": checksum(outcome.state),
        "parent": str(inputs.parent) if inputs.parent else None,
        "parent_checksum": parent[1]["checksum"] if parent else None,
        **record.reached(spec, task, data, model, outcome),
    }
    metadata = {
        "spec": spec,
        "labels": data.labels.to_json(),
        "status": content["status"],
        "data_hash": data.data_hash,
        "split_hash": data.split_hash,
        "made_by": {key: content[key] for key in ("version", "commit", "torch")},
    }
    if spec["stage"] == "finetune":
        metadata["domain"] = Domain.of(data.train, source.frames, data.structures).to_json()
        metadata["validation"] = {key: content[key] for key in ("val_force_rmse", "val_energy_rmse")}
    else:
        seen = [s for side in ("train", "validation") for s in source.side(inputs.split, side)]
        metadata["seen"] = fingerprints(source.frames, np.array(seen))
    save_model(output / "model.safetensors", outcome.state, metadata)
    if spec["stage"] == "finetune":
        trained = time.perf_counter()
        if not write_test(outcome.state, metadata, source, inputs.split, output / "test.json") and not outcome.diverged:
            outcome.diverged = "the test: the kept weights predict infinity for a structure"
            content |= {"status": "diverged", "diverged_at": outcome.diverged}
            content |= record.reached(spec, task, data, model, outcome)
            save_model(output / "model.safetensors", outcome.state, metadata | {"status": "diverged"})
            say(spec["seed"], f"diverged at {outcome.diverged}; the run counts as diverged")
        content["test_hash"] = sha256_file(output / "test.json")
        content["evaluation_seconds"] = time.perf_counter() - trained
    write_json(output / "run.json", content)
    (output / PROGRESS).unlink(missing_ok=True)


def _train(loop: Loop, spec: Spec, reporter: Reporter, parent: Parent | None) -> Outcome:
    if parent is not None and parent[1]["status"] == "diverged":
        reporter.say(f"the pretraining {spec['pretraining']!r} diverged: counted as diverged, not trained")
        return Outcome(snapshot(loop.model), diverged="pretraining diverged")
    if loop.restored is True:
        reporter.resume(loop.outcome.rows)
        reporter.say(f"goes on at epoch {loop.epoch.number}, step {loop.outcome.steps} of {loop.steps}")
    elif loop.restored:
        reporter.say(f"the checkpoint {loop.restored}: starting again")
    outcome = loop.run()
    if outcome.diverged:
        reporter.say(f"diverged at {outcome.diverged}; the run counts as diverged")
    return outcome


def _identity(spec: Spec, data: Data, start: str, steps: int) -> str:
    """What a training must have in common with one that is to go on from its checkpoint."""
    code = record.code(spec)
    parts = [spec, data.data_hash, data.split_hash, start, steps, __version__, torch.__version__, code]
    return sha256_json(parts)


def make_task(spec: Spec) -> Task:
    """The task of a spec's ``task`` entry."""
    cls = load("task", spec["name"])
    task: Task = cls(cls.Options(**{key: value for key, value in spec.items() if key != "name"}))
    return task


def _idle(spec: Spec, task: Task, data: Data) -> dict[str, int]:
    """Structures of each side that the task can ask nothing about; they are visited all the same, and said."""
    sides = {"train": data.train, "validation": data.validation}
    idle = {side: task.check(store) for side, store in sides.items()}
    for side, count in idle.items():
        if count:
            of_all = f"{count} of {len(sides[side])} {side} structures"
            say(spec["seed"], f"{of_all} hold nothing for {spec['task']['name']}: no loss there")
    return idle


def budget_steps(spec: Spec, inputs: Inputs, training: Training, structures: int, flops: float) -> int:
    """Optimiser steps of the run: its own epochs, and for a longer run a multiple, or what a pretraining spends too.

    ``flops`` are those of a structure's step.  A pretraining that diverged counts with the steps it was to make.
    """
    per_epoch = steps_per_epoch(structures, training.batch_size)
    longer, matched = spec.get("longer"), None
    if longer and longer.get("times") is None:
        if inputs.budget is None:
            raise PriorbenchError(f"{spec['strategy']!r} is matched to a pretraining: give its run.json (--budget)")
        matched = _spent(inputs.budget)
    return planned_steps(longer, training.epochs * per_epoch, flops * structures / per_epoch, matched)


_MOST = {"planned_steps": 2**40, "steps": 2**40, "flops": 1e22}  # a record that says more is damaged


def _spent(record: Path) -> tuple[int, float]:
    """Steps and FLOPs that a pretraining was to make, by its ``record``."""
    content = read_json(record)
    found: list[Any] = [content.get(name) for name in _MOST] if isinstance(content, dict) else []
    if not found or not all(type(n) in (int, float) and 0 <= n < m for n, m in zip(found, _MOST.values(), strict=True)):
        raise PriorbenchError(f"{record}: says no steps and FLOPs; it is no record of a run, train it again")
    planned, steps, flops = found
    spent = float(flops) / max(int(steps), 1) * int(planned)
    if planned < 1 or spent > _MOST["flops"]:
        raise PriorbenchError(f"{record}: {planned} steps and {spent:g} FLOPs are not those of a run, train it again")
    return int(planned), spent


def _check_elements(model: Backbone, data: Data) -> None:
    rows = getattr(model, "element", None)
    largest = int(data.train.atomic_numbers.max())
    if isinstance(rows, torch.nn.Embedding) and largest >= rows.num_embeddings:
        raise PriorbenchError(
            f"atomic number {largest} has no row in an element table of {rows.num_embeddings}; raise element_rows"
        )
