"""Which training is begun first where more could begin than there are cores: the one with the longest way ahead.

Work has no unit; it compares the trainings of an experiment before any structure is known, without torch.
"""

from priorbench.config import Config


def pretraining(config: Config, dataset: str, backbone: str, name: str) -> float:
    """Work from the start of a pretraining to the end of the finetuning after it."""
    stages = config.pretraining_for(name, dataset, backbone), config.finetuning_for(dataset, backbone)
    return sum(stage.training.epochs for stage in stages) * _epoch(config, backbone)


def finetuning(config: Config, dataset: str, backbone: str, trial: str) -> float:
    """Work of the finetuning of a trial, what it takes longer included."""
    strategy = config.strategies[config.trials[trial].strategy]
    epochs = config.finetuning_for(dataset, backbone).training.epochs * (strategy.times or 1.0)
    if strategy.matching:
        epochs += config.pretraining_for(strategy.matching, dataset, backbone).training.epochs
    return epochs * _epoch(config, backbone)


def _epoch(config: Config, backbone: str) -> float:
    """Features times messages: an atom gets as many as its cutoff holds, in each layer."""
    options = config.backbones[backbone].options
    return float(options["layers"] * options["width"] * options["cutoff"] ** 3)
