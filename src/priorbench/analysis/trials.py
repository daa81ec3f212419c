"""Tuning: of several trials of a strategy, the one that is compared is chosen for each seed by validation alone.

Every strategy has the same number of trials.  What is chosen from is ``run.json``; ``test.json`` is not read before the
choice is made, and of trials that lost it is never read.  What all trials of a seed have cost, each pretraining once,
is counted with the chosen run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from priorbench.analysis.guards import by, label, parent_of
from priorbench.analysis.records import RUN_KEY, TRIAL_FIELDS
from priorbench.errors import PriorbenchError

Record = Mapping[str, Any]


def check_trials(runs: Sequence[Record]) -> None:
    """Refuse an experiment in which one strategy was tuned more than another."""
    for place, members in by([r for r in runs if r["stage"] == "finetune"], "dataset", "backbone").items():
        counts = {key: len(trials) for key, trials in by(members, "strategy", "seed").items()}
        few, many = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        if counts[few] != counts[many]:
            raise PriorbenchError(
                f"{'/'.join(map(str, place))}: {few[0]}/seed{few[1]} has {counts[few]} trials, {many[0]}/seed{many[1]} "
                f"{counts[many]}; every strategy is tuned as much as any other, run the rest"
            )
        for run in members:
            if run["trials"] > counts[few]:
                raise PriorbenchError(
                    f"{label(run)}: one of {run['trials']} trials, of which {counts[few]} are given; collect all"
                )


def choose(runs: Sequence[Record]) -> list[Record]:
    """One finetuned run for each strategy and seed, with ``trials`` and ``tuning_flops``; pretrainings as they are.

    The lowest validation force RMSE of the trials that completed, of equals the first; the first of all if none did.
    Of pretrainings of the same name and seed only those are kept that a chosen run started from.
    """
    chosen = []
    for trials in by([run for run in runs if run["stage"] == "finetune"], *RUN_KEY).values():
        best = min(trials, key=_rank)
        chosen.append({**best, "trials": len(trials), "tuning_flops": _flops(trials, runs)})
    return [*_pretrainings(chosen, runs), *chosen]


def trial_rows(runs: Sequence[Record], chosen: Sequence[Record]) -> list[Record]:
    """A row for every trial: how it did on the validation split, and whether it was chosen (1) or not (0)."""
    taken = {_key(run) for run in chosen}
    return [
        {**{name: run[name] for name in TRIAL_FIELDS}, "chosen": int(_key(run) in taken)}
        for run in runs
        if run["stage"] == "finetune"
    ]


def _rank(run: Record) -> tuple[bool, float, int]:
    done = run["status"] == "completed"
    return not done, run["val_force_rmse"] if done else 0.0, run["trial"]


def _flops(trials: Sequence[Record], runs: Sequence[Record]) -> float:
    parents = {_key(parent): parent for parent in (parent_of(run, runs) for run in trials if run["pretraining"])}
    return float(sum(run["flops"] for run in (*trials, *parents.values())))


def _pretrainings(chosen: Sequence[Record], runs: Sequence[Record]) -> list[Record]:
    used = {_key(parent_of(run, runs)) for run in chosen if run["pretraining"]}
    found: list[Record] = []
    for same in by([run for run in runs if run["stage"] == "pretrain"], *RUN_KEY).values():
        found += [run for run in same if _key(run) in used] or same[:1]
    return found


def _key(run: Record) -> tuple[Any, ...]:
    return (*(run[name] for name in RUN_KEY), run["trial"])
