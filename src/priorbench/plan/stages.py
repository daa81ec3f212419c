"""The stages of an experiment, each a line of the plan: how many runs, and how many structures each visits."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby, product

from priorbench.budget import planned_steps
from priorbench.config import Config
from priorbench.plan.prices import Key
from priorbench.plan.sizes import Sizes, limited
from priorbench.runs import Spec, finetune_spec, pretrain_spec


@dataclass(frozen=True)
class Stage:
    """All runs of one pretraining, or of one strategy with its trials, of a backbone on a dataset."""

    dataset: str
    backbone: str
    name: str  # of the pretraining or the strategy
    spec: Spec  # of the first run
    seeds: int
    trials: int
    parents: tuple[tuple[str, str] | None, ...]  # dataset and name of the pretraining each trial waits for
    structures: tuple[int, ...] | None  # training structures, one number a seed; None: unknown until read

    @property
    def runs(self) -> int:
        """Of all seeds and trials."""
        return self.seeds * self.trials

    @property
    def key(self) -> Key:
        """What tells it from all others: a pretraining and a strategy may have the same name."""
        return self.dataset, self.backbone, self.kind, self.name

    @property
    def kind(self) -> str:
        """``pretrain`` or ``finetune``."""
        return str(self.spec["stage"])

    @property
    def batch(self) -> int:
        """Structures of a step."""
        return int(self.spec["training"]["batch_size"])


@dataclass(frozen=True)
class Effort:
    """What a run is to do."""

    steps: int  # of the optimiser
    visits: int  # structure-steps
    epochs: int  # of which the last may be cut


def stages_of(config: Config, sizes: Mapping[str, Sizes | None]) -> list[Stage]:
    """Dataset by dataset and backbone by backbone: every pretraining that some run needs, once, then the strategies."""
    needed = {
        (source, backbone, name)
        for dataset, backbone in product(config.finetuned_datasets, config.backbones)
        for source, name in config.pretrainings_on(dataset, backbone)
    }
    found = []
    for dataset, backbone in product(config.datasets, config.backbones):
        known = sizes[dataset]
        names = [name for name in config.pretraining if (dataset, backbone, name) in needed]
        found += [_pretraining(config, dataset, backbone, name, known) for name in names]
        if dataset in config.finetuned_datasets:
            found += _finetunings(config, dataset, backbone, known)
    return found


def effort(stage: Stage, seed: int, matched: tuple[int, float] | None, flops: float) -> Effort:
    """Planned steps of the run of the ``seed``-th seed.

    ``matched`` are planned steps and FLOPs of the pretraining that a longer run is matched to; ``flops`` those of one
    of its own structure-steps.
    """
    if stage.structures is None:
        raise ValueError(f"{stage.key}: sizes are unknown")
    structures = stage.structures[seed]
    per_epoch = math.ceil(structures / stage.batch)
    own = int(stage.spec["training"]["epochs"]) * per_epoch
    try:
        steps = planned_steps(stage.spec.get("longer"), own, flops * structures / per_epoch, matched)
    except ValueError as error:
        raise ValueError(f"{stage.key}: {error}") from None
    whole, rest = divmod(steps, per_epoch)
    return Effort(steps, whole * structures + rest * stage.batch, math.ceil(steps / per_epoch))


def _pretraining(config: Config, dataset: str, backbone: str, name: str, sizes: Sizes | None) -> Stage:
    spec = pretrain_spec(config, dataset, backbone, name, config.seeds[0])
    return Stage(dataset, backbone, name, spec, len(config.seeds), 1, (None,), _structures(spec, sizes))


def _finetunings(config: Config, dataset: str, backbone: str, sizes: Sizes | None) -> list[Stage]:
    """A stage for each strategy that is compared there, with its trials."""
    found = []
    for name, runs in groupby(config.trials_on(dataset, backbone), key=lambda run: config.trials[run].strategy):
        trials, entry = list(runs), config.strategies[name]
        spec = finetune_spec(config, dataset, backbone, trials[0], config.seeds[0])
        waits = [config.trials[run].pretraining or entry.rescale or entry.matching for run in trials]
        parents = tuple((config.pretraining_dataset(p, dataset), p) if p else None for p in waits)
        structures = _structures(spec, sizes)
        found.append(Stage(dataset, backbone, name, spec, len(config.seeds), len(trials), parents, structures))
    return found


def _structures(spec: Spec, sizes: Sizes | None) -> tuple[int, ...] | None:
    if sizes is None:
        return None
    where = f"{spec['strategy']} of {spec['backbone']['name']} on {spec['dataset']}"
    return tuple(limited(count, spec["structures"], where) for count in sizes.counts["train"])
