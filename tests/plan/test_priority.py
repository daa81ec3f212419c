from itertools import pairwise

import pytest

from priorbench.config import Config
from priorbench.plan.priority import finetuning, pretraining
from tests.plan.conftest import experiment


@pytest.fixture
def config() -> Config:
    return experiment()


def test_the_longest_way_goes_first(config: Config) -> None:
    """EGNN hears more neighbours than GNS here, and a pretraining has its finetuning still ahead."""
    order = [
        pretraining(config, "water", "egnn", "denoise"),
        pretraining(config, "water", "gns", "mask"),
        finetuning(config, "water", "egnn", "scratch"),
        finetuning(config, "water", "gns", "mask"),
    ]
    assert all(before > after for before, after in pairwise(order))
    assert finetuning(config, "water", "egnn", "mask") == finetuning(config, "water", "egnn", "scratch")
    assert finetuning(config, "water", "egnn", "longer-steps") == pretraining(config, "water", "egnn", "mask")


def test_a_longer_run_by_multiples_has_so_many_times_the_way(config: Config) -> None:
    longer = config.strategies["longer-steps"].model_copy(update={"matching": None, "times": 2.5})
    config = config.model_copy(update={"strategies": {**config.strategies, "longer-steps": longer}})
    assert finetuning(config, "water", "gns", "longer-steps") == 2.5 * finetuning(config, "water", "gns", "scratch")
