"""Whole experiments, run as ``make run`` does: for checks that ``make test`` has no time for."""

import os
import subprocess
import sys
import time
from pathlib import Path

from priorbench.analysis.accounting import accounting

REPOSITORY = Path(__file__).parents[2]


def experiment(config: str, folder: Path) -> Path:
    """Run ``config`` in ``folder`` as ``make run`` does and return its results."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile", "--directory", folder]
    command += ["--cores", "2", "--configfile", REPOSITORY / config]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = time.time()
    subprocess.run(command, check=True, env=environment)
    (results,) = (folder / "results").iterdir()
    report = ["--quiet", "all", "--report", results / "snakemake-report.html"]
    subprocess.run([*command, *report], check=True, env=environment)
    accounting(results, "2", started)
    return results
