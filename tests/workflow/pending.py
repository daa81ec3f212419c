"""What Snakemake would run again after a change: one process plans many changes of an experiment that looks finished.

A change is a configuration in the place of the experiment's, or a text appended to a file.  The plans are Snakemake's
own (``snakemake --summary``); a process for each would spend most of its time on imports.  Run as a program, it reads a
request from standard input: the Snakefile, an empty folder, the configuration, and the changes by name, each with
``config`` or ``file``; a file may be a module of the package that this process imports, which must then be a copy.
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from snakemake.api import DAGApi, SnakemakeApi
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
    StorageSettings,
)
from snakemake import workflow as snakemake_workflow  # isort: skip; after the API, which it imports itself

from priorbench import sources

FINISHED = "experiment.yaml"


@contextlib.contextmanager
def planned(snakefile: Path) -> Iterator[DAGApi]:
    """The DAG of everything, by the configuration in the current folder."""
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(configfiles=[Path(FINISHED)]),
            storage_settings=StorageSettings(),
            snakefile=snakefile,
            workdir=Path.cwd(),
        )
        yield workflow.dag(DAGSettings(targets={"all"}))


def summary(snakefile: Path) -> list[dict[str, str]]:
    """A row for every output."""
    with planned(snakefile) as dag, contextlib.redirect_stdout(io.StringIO()) as text:
        dag.summary()
    head, *lines = [line.split("\t") for line in text.getvalue().splitlines()]
    return [dict(zip(head, line, strict=True)) for line in lines]


def pending(snakefile: Path) -> list[tuple[str, str]]:
    """Rule and output of all that would run."""
    for value in vars(sources).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    rows = [(row["rule"], row["output_file"]) for row in summary(snakefile) if row["plan"] != "no update"]
    return sorted(set(rows))


def finish(snakefile: Path) -> None:
    """Empty outputs, which Snakemake is told to take for its own."""
    for row in summary(snakefile):
        path = Path(row["output_file"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with planned(snakefile) as dag:
        dag.execute_workflow(executor="touch")


def remember_parsed_rules() -> None:
    """Reading the Snakefiles takes half the time of a plan, and they do not change here."""
    parse, known = snakemake_workflow.parse, dict[str, Any]()

    def remembered(path: Any, *arguments: Any, **options: Any) -> Any:
        key = str(path.get_path_or_uri(secret_free=True))
        if key not in known:
            known[key] = parse(path, *arguments, **options)
        return known[key]

    snakemake_workflow.parse = remembered


def main() -> None:
    request = json.load(sys.stdin)
    snakefile = Path(request["snakefile"])
    os.chdir(request["folder"])
    remember_parsed_rules()
    configuration = Path(FINISHED)
    configuration.write_text(yaml.safe_dump(request["config"]), encoding="utf-8")
    finish(snakefile)
    answer = {"": pending(snakefile)}
    for name, change in request["changes"].items():
        path = configuration if "config" in change else Path(change["file"])
        before, times = path.read_bytes(), path.stat()
        if "config" in change:
            path.write_text(yaml.safe_dump(change["config"]), encoding="utf-8")
        else:
            path.write_bytes(before + change["text"].encode())
        answer[name] = pending(snakefile)
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
