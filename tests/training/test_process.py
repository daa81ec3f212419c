"""What a training process settles before it starts."""

import subprocess
import sys

import pytest

PROGRAM = """
import torch
from priorbench.training.process import prepare_torch
prepare_torch({threads})
small = torch.full((1_000_000,), 1e-30)
print(torch.get_num_threads(), int((small * 1e-10).count_nonzero()))
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_no_thread_computes_with_subnormal_numbers(threads: int) -> None:
    """They made steps of a network with saturated units nine times as slow."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(threads=threads)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(threads), "0"]


MODES = """
import torch
from priorbench.config_sections import GPU
from priorbench.training.process import prepare_torch
prepare_torch(1, {gpu})
print(torch.get_deterministic_debug_mode(), torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
"""


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [("None", "2 False False"), ("GPU(tf32=True)", "2 True True"), ("GPU(deterministic=False)", "0 False False")],
)
def test_a_gpu_computes_exactly_and_repeatably_unless_told(gpu: str, expected: str) -> None:
    done = subprocess.run([sys.executable, "-c", MODES.format(gpu=gpu)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
