"""Training in several processes is that in one, but for rounding."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from priorbench.config import Training
from priorbench.errors import PriorbenchError
from priorbench.registry import TASKS
from priorbench.training.model import build, checksum, snapshot
from priorbench.training.optimiser import Adam
from priorbench.training.parallel import Ranks, ranks_from_environment
from priorbench.training.run import make_task
from priorbench.training.step import accumulate, has_batch_statistics, take_step
from tests.conftest import make_frames, make_store
from tests.networks import specs
from tests.processes import together

BATCHES = ([0, 1, 2], [3], [4, 1])  # three structures and one for two processes
TRAINING = Training(epochs=1, batch_size=3, learning_rate=1e-2)


def divisible() -> list[dict]:
    """Specs of all networks without batch statistics."""
    everything = [parameters.values[0] for parameters in specs()]
    return [spec for spec in everything if not has_batch_statistics(build(spec, 0))]


def trained(folder: str, batches: list[list[int]]) -> dict:
    """Losses, gradient norms, weights and shares of every network and task after a step on each of the ``batches``."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    joined = ranks_from_environment()
    results = {}
    for spec in divisible():
        place = Path(folder) / str(joined.rank if joined else "alone")
        place.mkdir(exist_ok=True)
        store = make_store(make_frames(5), place, spec["cutoff"])
        for name in TASKS:
            ranks = joined and Ranks(joined.rank, joined.world)
            model, task, draws = build(spec, 0).train(), make_task({"name": name}), torch.Generator().manual_seed(7)
            optimiser, losses = Adam(model.parameters(), TRAINING), []
            for batch in batches:
                step = take_step(model, task, store, torch.tensor(batch), draws, optimiser, 1e-2, 1.0, ranks=ranks)
                losses.append([float(value) for value in step])
            weights = torch.nn.utils.parameters_to_vector(model.parameters()).tolist()
            without = [n for n, p in model.named_parameters() if p.grad is None]
            results[f"{sorted(spec.items())} {name}"] = {
                **{"losses": losses, "weights": weights, "checksum": checksum(snapshot(model)), "without": without}
            }
    if joined:
        joined.leave()
    return results


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict, dict]:
    """One process, and the two that share its batches."""
    folder = str(tmp_path_factory.mktemp("runs"))
    try:
        alone = trained(folder, list(BATCHES))
    finally:
        torch.set_default_dtype(torch.float32)
    arguments = {"folder": folder, "batches": [list(batch) for batch in BATCHES]}
    first, second = together(trained, [arguments] * 2, Path(folder))
    return alone, first, second


def test_two_processes_train_as_one_does(runs: tuple[dict, dict, dict]) -> None:
    alone, first, _ = runs
    assert {"egnn", "gns"} <= {spec["architecture"] for spec in divisible()}
    assert list(first) == list(alone)
    for case, one in alone.items():
        assert len(one["losses"]) == len(BATCHES)
        assert first[case]["without"] == one["without"]
        for name in ("losses", "weights"):
            two, expected = (torch.tensor(run[name], dtype=torch.float64) for run in (first[case], one))
            torch.testing.assert_close(two, expected, rtol=1e-9, atol=1e-9, msg=lambda text, c=case: f"{c}: {text}")


def test_all_processes_hold_the_same_network(runs: tuple[dict, dict, dict]) -> None:
    _, first, second = runs
    for case, run in first.items():
        assert run["checksum"] == second[case]["checksum"]
        assert run["losses"] == second[case]["losses"]


@pytest.mark.parametrize(
    ("weights", "world", "sizes"),
    [
        ([10] * 16, 2, [8, 8]),
        ([10] * 16, 3, [5, 6, 5]),
        ([30, 10, 10, 10], 2, [1, 3]),
        ([10, 10, 10, 30], 2, [3, 1]),
        ([10], 3, [0, 1, 0]),
        ([0, 0, 0, 0], 2, [2, 2]),
        ([7, 1000, 7], 4, [1, 0, 1, 1]),
    ],
)
def test_shares_are_contiguous_balanced_and_complete(weights: list[int], world: int, sizes: list[int]) -> None:
    shares = [Ranks(rank, world).share(weights) for rank in range(world)]
    assert [share.stop - share.start for share in shares] == sizes
    assert [i for share in shares for i in range(len(weights))[share]] == list(range(len(weights)))


def test_batch_statistics_are_refused(tmp_path: Path) -> None:
    store = make_store(make_frames(2), tmp_path)
    spec = {"name": "f", "architecture": "forcenet", "cutoff": 3.4, "layers": 1, "width": 16, "frequencies": 4}
    task = make_task({"name": "potential"})
    example = task.corrupt(store.batch(torch.arange(2)), torch.Generator())
    with pytest.raises(PriorbenchError, match="ForceNet has batch statistics, which span processes"):
        accumulate(build(spec, 0).train(), task, example, lambda phase: None, ranks=Ranks(0, 2))


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"WORLD_SIZE": "2", "RANK": "0"},
            "WORLD_SIZE is set, but not MASTER_ADDR, MASTER_PORT; start with torchrun or srun",
        ),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, "RANK 2 of WORLD_SIZE 2; start"),
        ({"WORLD_SIZE": "two", "RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, "RANK 0 of WORLD_SIZE two; start"),
    ],
)
def test_what_torchrun_would_not_set_is_one_line(
    environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PriorbenchError) as caught:
        ranks_from_environment()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1", "RANK": "0"}])
def test_a_process_alone_joins_nobody(environment: dict[str, str]) -> None:
    code = """
import os, sys
os.environ.pop("WORLD_SIZE", None)
os.environ.update(eval(sys.argv[1]))
from priorbench.training.parallel import ranks_from_environment
import torch.distributed as dist
print(ranks_from_environment(), dist.is_initialized(), "torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, repr(environment)], capture_output=True, text=True, check=True)
    assert done.stdout == "None False False\n"
