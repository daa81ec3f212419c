"""What Snakemake would run again after a change: one process plans many changes of an experiment that looks finished.

A change is a configuration in the place of the experiment's, a text appended to a file, or a file deleted.  The plans
are Snakemake's own (``snakemake --summary``); a process for each would spend most of its time on imports.  Run as a
program, it reads a request from standard input: the Snakefile, an empty folder, the configuration, and the changes by
name, each with ``config``, or with ``file`` and ``text``, or with ``file`` alone where that is deleted; a file may be a
module of the package that this process imports, which must then be a copy.
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import yaml
from snakemake.api import DAGApi, SnakemakeApi
from snakemake.executors.touch import Executor as Touch
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
    StorageSettings,
)

from priorbench import sources

FINISHED = "experiment.yaml"


@contextlib.contextmanager
def planned(snakefile: Path, again: bool = False) -> Iterator[DAGApi]:
    """The DAG of everything, by the configuration in the current folder; ``again``: whatever is there."""
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(configfiles=[Path(FINISHED)]),
            storage_settings=StorageSettings(),
            snakefile=snakefile,
            workdir=Path.cwd(),
        )
        yield workflow.dag(DAGSettings(targets={"all"}, forceall=again))


def pending(snakefile: Path) -> list[tuple[str, str, bool]]:
    """Rule and name of every output, and whether it would be made again."""
    with planned(snakefile) as dag, contextlib.redirect_stdout(io.StringIO()) as text:
        dag.summary()
    return [
        (rule, file, bool(reason)) for rule, file, reason in (row.split("\t") for row in text.getvalue().splitlines())
    ]


def read_sources_again() -> None:
    """Forget what was read of the package's modules."""
    for value in vars(sources).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


def finish(snakefile: Path) -> None:
    """Empty outputs, which Snakemake is told to take for its own."""
    for _, file, _ in pending(snakefile):
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    Touch.SLEEPING_TIME = 0
    with planned(snakefile, again=True) as dag:
        dag.execute_workflow(executor="touch")


async def reasons(dag: Any, detailed: bool = False) -> AsyncIterator[str]:
    """What a summary says of each output, without what takes time to find: rule, file, why it would be made again."""
    for job in dag.jobs:
        for file in job.output:
            yield f"{job.rule.name}\t{file}\t{dag.reason(job)}"


def plan_fast() -> None:
    """Read every Snakefile once, which is half of the time of a plan, and leave dates out of summaries."""
    import snakemake.dag  # after the API, which imports them itself
    import snakemake.workflow

    parse, known = snakemake.workflow.parse, dict[str, Any]()

    def remembered(path: Any, *arguments: Any, **options: Any) -> Any:
        key = str(path.get_path_or_uri(secret_free=True))
        if key not in known:
            known[key] = parse(path, *arguments, **options)
        return known[key]

    snakemake.workflow.parse = remembered
    snakemake.dag.DAG.summary = reasons


def main() -> None:
    request = json.load(sys.stdin)
    snakefile = Path(request["snakefile"])
    os.chdir(request["folder"])
    plan_fast()
    configuration = Path(FINISHED)
    configuration.write_text(yaml.safe_dump(request["config"]), encoding="utf-8")
    finish(snakefile)
    answer = {"": pending(snakefile)}
    for name, change in request["changes"].items():
        path = configuration if "config" in change else Path(change["file"])
        before, times = path.read_bytes(), path.stat()
        if "config" in change:
            path.write_text(yaml.safe_dump(change["config"]), encoding="utf-8")
        elif "text" in change:
            path.write_bytes(before + change["text"].encode())
        else:
            path.unlink()
        if path.is_relative_to(sources.PACKAGE):
            read_sources_again()
        answer[name] = pending(snakefile)
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        if path.is_relative_to(sources.PACKAGE):
            read_sources_again()
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
