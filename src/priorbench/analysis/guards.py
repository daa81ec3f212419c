"""What must hold between runs before they may be compared; every breach is one clear line."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from priorbench.errors import PriorbenchError

Record = Mapping[str, Any]

#: What must not differ between the runs of one dataset, backbone and seed, whatever their strategy and trial.
_SHARED = {
    "initial_checksum": "start from different initial weights",
    "split_hash": "were split differently",
    "data_hash": "saw different data",
    "version": "were run by different versions",  # where the code itself is not on record
    "device": "ran on different devices",
    "threads": "ran on different numbers of threads",
}


def check_runs(runs: Sequence[Record]) -> None:
    """Refuse runs, all trials among them, that cannot be compared fairly; test errors are not looked at."""
    if not any(run["stage"] == "finetune" for run in runs):
        raise PriorbenchError("no finetuned run to collect; train something first")
    _check_unique(runs)
    _check_shared(runs)
    for place, members in by(runs, "dataset", "backbone").items():
        finetuned = [run for run in members if run["stage"] == "finetune"]
        check_baselines("/".join(map(str, place)), finetuned)
        _check_seeds("/".join(map(str, place)), finetuned)
        _check_code("/".join(map(str, place)), finetuned)
    for run in runs:
        _check_outcome(run)
        if run["stage"] == "finetune" and run["pretraining"]:
            _check_parent(run, parent_of(run, runs))


def check_baselines(place: str, finetuned: Sequence[Record]) -> None:
    """A comparison is never made without scratch and a longer run of as many steps."""
    roles = {run["role"] for run in finetuned}
    if finetuned and "scratch" not in roles:
        raise PriorbenchError(f"{place}: no run trained from scratch; nothing is compared without one, add it")
    if "pretrained" in roles and "longer-steps" not in roles:
        raise PriorbenchError(f"{place}: no longer-steps run; a gain over scratch alone proves nothing, add one")


def parent_of(run: Record, runs: Sequence[Record]) -> Record:
    """The pretraining run that a pretrained run was started from; of several of a name, that of the same trial."""
    wanted = run["pretraining_dataset"] or run["dataset"], run["backbone"], run["pretraining"], run["seed"]
    found = [
        other
        for other in runs
        if other["stage"] == "pretrain"
        and (other["dataset"], other["backbone"], other["strategy"], other["seed"]) == wanted
    ]
    if not found:
        raise PriorbenchError(
            f"{label(run)}: its pretraining {run['pretraining']!r} is not among the runs; collect it too"
        )
    return next((other for other in found if other["trial"] == run["trial"]), found[0])


def label(run: Record) -> str:
    """How a run is named in messages: as in its path."""
    trial = f"+{run['trial']}" if max(run["trial"], run["trials"]) > 1 else ""
    return f"{run['dataset']}/{run['backbone']}/{run['strategy']}{trial}/seed{run['seed']} ({run['stage']})"


def by(runs: Sequence[Record], *keys: str) -> dict[tuple[Any, ...], list[Record]]:
    """The runs by their values of ``keys``, in the order in which they come."""
    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for run in runs:
        groups[tuple(run[key] for key in keys)].append(run)
    return groups


def _check_unique(runs: Sequence[Record]) -> None:
    experiments = sorted({str(run["experiment"]) for run in runs})
    if len(experiments) > 1:
        raise PriorbenchError(f"runs of several experiments ({', '.join(experiments)}); collect one at a time")
    name, count = Counter(label(run) for run in runs).most_common(1)[0]
    if count > 1:
        raise PriorbenchError(f"{name}: given {count} times; a run counts once")


def _check_shared(runs: Sequence[Record]) -> None:
    for members in by(runs, "dataset", "backbone", "seed").values():
        first = members[0]
        for run in members[1:]:
            for key, meaning in _SHARED.items():
                if key == "version" and run.get("code") and first.get("code"):
                    continue  # what did not change between two versions need not be run again
                if run[key] != first[key]:
                    raise PriorbenchError(
                        f"{label(run)} and {label(first)} {meaning} ({key} {run[key]} ≠ {first[key]}); "
                        "same seed must mean the same for every strategy, run both again"
                    )


def _check_code(place: str, finetuned: Sequence[Record]) -> None:
    """All strategies and seeds of a place run through the same code, whatever the version."""
    known = [run for run in finetuned if run.get("code")]
    for run in known:
        if run["code"] != known[0]["code"]:
            raise PriorbenchError(
                f"{place}: {label(run)} and {label(known[0])} were run by different code "
                f"({run['code'][:10]} ≠ {known[0]['code'][:10]}); run both again"
            )


def _check_seeds(place: str, finetuned: Sequence[Record]) -> None:
    seeds = {name: {run["seed"] for run in members} for (name,), members in by(finetuned, "strategy").items()}
    every = set().union(*seeds.values())
    for name, own in sorted(seeds.items()):
        if own != every:
            raise PriorbenchError(
                f"{place}/{name}: no run for seed {min(every - own)}, which other strategies have; "
                "comparisons are paired, run it"
            )


def _check_parent(run: Record, parent: Record) -> None:
    if run["status"] == "diverged" and run["start_checksum"] is None:
        return  # it never started: its pretraining diverged
    what, key = ("starts from", "start_checksum") if _whole(run) else ("takes its body from", "parent_checksum")
    if run[key] != parent["final_checksum"]:
        raise PriorbenchError(
            f"{label(run)}: {what} weights {run[key]}, but {label(parent)} ended with "
            f"{parent['final_checksum']}; run it again"
        )
    if run["start_checksum"] == run["initial_checksum"] and parent["status"] != "diverged":
        raise PriorbenchError(f"{label(run)}: starts from its initial weights; no pretrained weights were loaded")


def _whole(run: Record) -> bool:
    """Whether a run takes all weights of its pretraining, heads included."""
    return bool(json.loads(run["settings"] or "{}").get("transfer", "all") == "all")


def _check_outcome(run: Record) -> None:
    if run["status"] not in ("completed", "diverged"):
        raise PriorbenchError(f"{label(run)}: status {run['status']!r} is neither completed nor diverged; run it again")
    if run["stage"] == "finetune" and run["status"] == "completed":
        _check_errors(run, "val_force_rmse")


def check_tested(run: Record) -> None:
    """Refuse a completed run without test errors."""
    if run["stage"] == "finetune" and run["status"] == "completed":
        _check_errors(run, "test_force_rmse", "test_energy_rmse", "test_force_mae", "test_energy_mae")


def _check_errors(run: Record, *keys: str) -> None:
    for key in keys:
        if run[key] is None or not 0 < run[key] < float("inf"):
            raise PriorbenchError(f"{label(run)}: completed, but {key} is {run[key]}; evaluate it again")
