"""Snakemake, but its SLURM executor asks after its jobs every two seconds.

By itself it asks ten seconds later after every time that no job has ended, up to three minutes: right for a real
cluster, and most of the time of a test that cuts a job twenty times.
"""

import sys
from typing import Any

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

SECONDS = 2.0


def ignored(self: Any, value: float) -> None:
    """The executor's own idea of when to ask next."""


RemoteExecutor.next_seconds_between_status_checks = property(lambda self: SECONDS, ignored)

if __name__ == "__main__":
    sys.exit(main())
