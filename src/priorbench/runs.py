"""Which runs an experiment consists of, and everything that determines each of them.

A *spec* is a plain JSON object with all that a training run depends on besides its input files.  The workflow passes
it on the command line, so that changing a configuration key reruns exactly the runs whose spec it changes, and its
SHA-256 is the configuration hash in the results.
"""

from collections.abc import Sequence
from typing import Any

from priorbench.config import Config, Stage
from priorbench.errors import PriorbenchError

Spec = dict[str, Any]

# Beside the outputs in a run's folder, until the run is done.
PROGRESS = "progress.json"
CHECKPOINT = "checkpoint.safetensors"


def dataset_spec(config: Config, dataset: str) -> Spec:
    """What the frames of a dataset depend on."""
    entry = config.datasets[dataset]
    return {"name": dataset, "source": entry.source, "options": entry.options}


def split_spec(config: Config, seed: int) -> Spec:
    """What a split depends on besides the frames; one seed for all where the split is not resampled."""
    options = config.split.model_dump()
    resample = options.pop("resample")
    return {**options, "seed": seed if resample else 0}


def pretrain_spec(config: Config, dataset: str, backbone: str, pretraining: str, seed: int) -> Spec:
    """What a pretraining run on the structures of ``dataset`` depends on besides its files."""
    stage = config.pretraining_for(pretraining, dataset, backbone)
    return {
        "stage": "pretrain",
        "strategy": pretraining,
        **_common(config, dataset, backbone, seed),
        "labels": stage.labels,
        **_stage(stage),
    }


def finetune_spec(config: Config, dataset: str, backbone: str, run: str, seed: int) -> Spec:
    """What a finetuning run depends on besides its files; ``run`` is a trial of a strategy.

    ``longer`` says how much more is spent than finetuning's own budget: as much as a pretraining, whose record is an
    input, or a multiple.
    """
    trial = config.trials[run]
    entry = config.strategies[trial.strategy]
    stage = config.finetuning_for(dataset, backbone)
    tuned = config.backbones[backbone].protocol == "fair"
    if tuned and trial.learning_rate is not None:
        stage = stage.changed({"learning_rate": trial.learning_rate})
    parent = trial.pretraining or entry.rescale
    where = config.pretraining_dataset(parent, dataset) if parent else None
    return {
        "stage": "finetune",
        "strategy": trial.strategy,
        "trial": trial.number,
        "trials": trial.count if tuned else 1,
        **_common(config, dataset, backbone, seed),
        "role": entry.role,
        "pretraining": trial.pretraining,
        "pretraining_task": config.pretraining[trial.pretraining].task if trial.pretraining else None,
        "pretraining_dataset": where if where != dataset else None,
        "transfer": entry.transfer,
        "rescale": entry.rescale,
        "longer": {"by": entry.longer, "times": entry.times} if entry.longer else None,
        **_stage(stage),
    }


def joined(specs: Sequence[Spec]) -> Spec:
    """One spec for the runs of one job, which differ in nothing but ``seed``: ``seeds`` stands in its place."""
    if len(specs) == 1:
        return specs[0]
    common = [{key: value for key, value in spec.items() if key != "seed"} for spec in specs]
    if any(other != common[0] for other in common):
        raise ValueError("the runs of one job differ in more than their seeds")
    return {**common[0], "seeds": [spec["seed"] for spec in specs]}


def separated(spec: Spec) -> list[Spec]:
    """The spec of each run in a spec that :func:`joined` made, in the order of ``seeds``."""
    if "seeds" not in spec:
        return [spec]
    seeds = spec["seeds"]
    if "seed" in spec or not isinstance(seeds, list) or not seeds or len(set(map(str, seeds))) != len(seeds):
        raise PriorbenchError(f"--spec: seeds {seeds!r} are no list of different seeds in place of one seed")
    common = {key: value for key, value in spec.items() if key != "seeds"}
    return [{**common, "seed": seed} for seed in seeds]


def _stage(stage: Stage) -> Spec:
    return {
        "task": {"name": stage.task, **stage.options},
        "structures": stage.structures,
        "training": stage.training.model_dump(),
    }


def _common(config: Config, dataset: str, backbone: str, seed: int) -> Spec:
    entry = config.backbones[backbone]
    return {
        "experiment": config.experiment,
        "dataset": dataset,
        "source": config.datasets[dataset].source,
        "protocol": entry.protocol,
        "backbone": {"name": backbone, "architecture": entry.architecture, **entry.options},
        "seed": seed,
        "device": config.device,
        **({"gpu": config.gpu.model_dump()} if config.device == "cuda" else {}),
    }
