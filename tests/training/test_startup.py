"""What every job pays before and beside its arithmetic."""

import json
import subprocess
import sys

import pytest

from tests.training.conftest import spec

FINETUNE_AND_EVALUATE = """
import sys
from priorbench.cli import main
spec, frames, neighbours, split, run = sys.argv[1:]
data = ["--frames", frames, "--neighbours", neighbours, "--split", split, "--threads", "1"]
assert main(["finetune", "--spec", spec, *data, "--output", run]) == 0
assert main(["evaluate", "--model", f"{run}/model.safetensors", *data, "--output", f"{run}/test.json"]) == 0
print("compiler:", "torch._dynamo" in sys.modules or "torch._inductor" in sys.modules)
"""

MEMORY = """
import resource, sys, torch
from priorbench.training.process import keep_memory
keep_memory()
size, rounds = map(int, sys.argv[1:])
for _ in range(10 + rounds):  # the heap settles within ten, by where it came to lie
    torch.ones(size)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(rounds):
    torch.ones(size)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def python(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_job_imports_the_compiler(inputs, tmp_path):
    out = python(
        FINETUNE_AND_EVALUATE,
        json.dumps(spec()),
        str(inputs.frames),
        str(inputs.neighbours),
        str(inputs.split),
        str(tmp_path / "run"),
    )
    assert out.splitlines()[-1] == "compiler: False"


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc's allocator")
@pytest.mark.parametrize(("size", "rounds"), [(12 << 20, 20), (300 << 20, 2)])
def test_memory_of_large_tensors_is_kept(size: int, rounds: int) -> None:
    """However large they are: what boxes of 24,576 atoms had freed was given back."""
    pages = 4 * size // 4096  # of one tensor
    assert int(python(MEMORY, str(size), str(rounds))) < pages
