import json
import os
import subprocess
import sys
import time

import pytest
import torch

from priorbench.bench import machine
from priorbench.bench.machine import rates, slug
from priorbench.bench.options import Options
from priorbench.bench.process import isolated, together
from priorbench.errors import PriorbenchError
from priorbench.memory import available_memory, peak_memory, resident_memory
from tests.bench.conftest import MACHINE

SLEEP = 600.0  # s, of a process that nobody ends


def test_rates_are_those_of_the_arithmetic() -> None:
    found = rates(threads=1, device="cpu", matrix=256, copied=1 << 22)
    assert 0.1 < found["matmul_gflops"] < 1e5
    assert 0.1 < found["copy_gbytes"] < 1e4
    assert found["torch"] == torch.__version__
    assert found["gpu"] is None


def test_a_machine_is_described(in_this_process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MATRIX", 64)
    monkeypatch.setattr(machine, "COPIED", 1 << 16)
    found = machine.describe(Options(threads=1))
    assert set(machine.KIND) | set(MACHINE) <= set(found)
    assert found["cpu"]
    assert found["memory_gb"] > 0.1


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_a_missing_gpu_is_one_line() -> None:
    with pytest.raises(PriorbenchError, match="no GPU"):
        rates(1, "cuda", 64, 1 << 16)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "intel-xeon-2cores"),
        ({"threads": 1}, "intel-xeon-2cores-1thread"),
        ({"cpu": "AMD EPYC 7763 64-Core Processor", "cores": 1, "threads": 1}, "amd-epyc-7763-1core"),
        ({"cpu": "Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", "cores": 8, "threads": 8}, "intel-core-i7-8550u-8cores"),
        ({"gpu": "NVIDIA H100 80GB HBM3"}, "nvidia-h100-80gb-hbm3"),
        ({"cpu": ""}, "machine-2cores"),
    ],
)
def test_files_are_named_after_the_machine(changes: dict, name: str) -> None:
    assert slug(MACHINE | changes) == name


def test_a_process_of_its_own_answers() -> None:
    assert isolated("builtins:dict", a=[1, None], b="é") == {"a": [1, None], "b": "é"}


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("priorbench.bench.options:Options", {"threads": 0}, "^--threads: 0 is less than 1$"),
        ("json:loads", {"s": "{"}, "^json.decoder.JSONDecodeError: "),
        ("os:abort", {}, "^its process was ended by signal 6$"),
    ],
)
def test_whatever_ends_it_is_one_line(function: str, arguments: dict, message: str) -> None:
    with pytest.raises(PriorbenchError, match=message) as caught:
        isolated(function, **arguments)
    assert "\n" not in str(caught.value)


def test_the_memory_of_a_process_is_its_own() -> None:
    held = bytearray(300 << 20)  # of this process, whose size a child's ru_maxrss would start from
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
    code = "import json; from priorbench.memory import peak_memory; print(json.dumps(peak_memory()))"
    found = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert 0.005 < found < 0.2 < peak_memory()


def test_memory_now_is_within_what_there_is() -> None:
    assert 0.01 < resident_memory() <= peak_memory() + 0.01
    assert 0.1 < available_memory() < 1e5


@pytest.mark.parametrize(("asked_for", "most"), [("100", 100 * 2**20 / 1e9), ("0", 1e5), ("all", 1e5)])
def test_a_job_of_slurm_has_no_more_memory_than_it_asked_for(
    asked_for: str, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = available_memory()
    monkeypatch.setenv("SLURM_MEM_PER_NODE", asked_for)
    assert available_memory() == pytest.approx(min(free, most), rel=0.2)


def test_processes_at_once_are_told_apart() -> None:
    answers = together("tests.bench.test_machine:own_rank", [{"factor": 10}, {"factor": 20}])
    assert [answer[0] for answer in answers] == [0, 20]
    assert answers[0][1:] == answers[1][1:] == ["2", "127.0.0.1"]


def test_where_one_fails_the_others_are_ended() -> None:
    started = time.monotonic()
    with pytest.raises(PriorbenchError, match=r"^rank 1 is out of luck$"):
        together("tests.bench.test_machine:unlucky", [{"rank": 0}, {"rank": 1}])
    assert time.monotonic() - started < SLEEP / 2


def own_rank(factor: int) -> list:
    return [factor * int(os.environ["RANK"]), os.environ["WORLD_SIZE"], os.environ["MASTER_ADDR"]]


def unlucky(rank: int) -> None:
    if rank == 1:
        raise PriorbenchError("rank 1 is out of luck")
    time.sleep(SLEEP)
