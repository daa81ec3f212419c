"""The command line: one command a rule, each a call of one function.

Heavy modules are imported inside the commands, so that ``priorbench --help`` and the light commands start at once.
Faults of the input end with one line on standard error and exit code 1.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from priorbench.errors import PriorbenchError, out_of_memory, reason
from priorbench.io import explained, from_json
from priorbench.potential.commands import potential_commands
from priorbench.stop import TRY_AGAIN, Interrupted

Command = Callable[[argparse.Namespace], None]
AddCommand = Callable[[str, Command], argparse.ArgumentParser]


def json_object(text: str) -> dict[str, Any]:
    """A JSON object given on the command line, or ``@file`` that holds one."""
    try:
        value = from_json(Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise PriorbenchError(f"not a JSON object: {error}; give {{…}} or @file.json") from None
    if not isinstance(value, dict):
        raise PriorbenchError(f"a JSON object is expected, found {type(value).__name__}")
    return value


def acquire(args: argparse.Namespace) -> None:
    """Generate or fetch one part of a dataset."""
    from priorbench.datasets.pipeline import acquire

    acquire(json_object(args.dataset), args.part, args.mirror, args.output)


def convert(args: argparse.Namespace) -> None:
    """Turn the parts of a dataset into frames (Å, eV, eV/Å)."""
    from priorbench.datasets.pipeline import convert

    convert(json_object(args.dataset), args.parts, args.output)


def relabel(args: argparse.Namespace) -> None:
    """Give the structures of a dataset the energies and forces of another method (eV, eV/Å)."""
    from priorbench.labels.relabel import relabel

    relabel(args.frames, json_object(args.by), args.output)


def checks(args: argparse.Namespace) -> None:
    """Draw whether a generated dataset is in equilibrium."""
    from priorbench.datasets.pipeline import draw_checks

    draw_checks(json_object(args.dataset), args.parts, args.output)


def card(args: argparse.Namespace) -> None:
    """Describe a dataset and its splits in a data card."""
    from priorbench.datasets.card import card

    card(args.frames, args.splits, args.output)


def neighbours(args: argparse.Namespace) -> None:
    """Build the neighbour lists of all frames for one cutoff."""
    from priorbench.neighbours import build

    build(args.frames, args.cutoff, args.output)


def split(args: argparse.Namespace) -> None:
    """Split frames by group into training, validation and test structures."""
    from priorbench.splits import split

    split(args.frames, json_object(args.spec), args.output)


def train(args: argparse.Namespace) -> None:
    """Run one pretraining or finetuning, or those of several seeds; test what was finetuned."""
    from priorbench.runs import separated
    from priorbench.training.data import inputs_by_run
    from priorbench.training.run import run_all

    spec = json_object(args.spec)
    if spec.get("stage") != args.command:
        raise PriorbenchError(f"--spec: its stage is {spec.get('stage')!r}, but the command is {args.command}")
    parents, budgets = getattr(args, "parent", None), getattr(args, "budget", None)
    inputs = inputs_by_run(args.frames, args.neighbours, args.split, parents, budgets)
    if args.at_once < 1:
        raise PriorbenchError(f"--at-once: {args.at_once} is less than 1")
    if args.at_once > 1 and len(args.output) > 1:
        from priorbench.training.parallel import one_of_several

        if one_of_several():
            raise PriorbenchError("--at-once: seeds side by side and several processes for a run exclude each other")
        from priorbench.training.pack import pack

        pack(args.command, separated(spec), inputs, args.output, args.threads, args.at_once)
        return
    run_all(separated(spec), inputs, args.threads, args.output, keep=args.keep_checkpoint)


def evaluate(args: argparse.Namespace) -> None:
    """Test a finetuned network on its test split, as finetuning has done."""
    from priorbench.evaluation.errors import evaluate
    from priorbench.training.data import Inputs

    evaluate(args.model, Inputs(args.frames, args.neighbours, args.split), args.threads, args.output)


def probe(args: argparse.Namespace) -> None:
    """Linear probes of the frozen features of networks of one dataset, backbone and seed, and their similarity."""
    from priorbench.evaluation.probes import probe
    from priorbench.training.data import Inputs

    probe(args.models, Inputs(args.frames, args.neighbours, args.split), args.threads, args.output)


def collect_probes(args: argparse.Namespace) -> None:
    """Gather the probes of all datasets, backbones and seeds into one table."""
    from priorbench.evaluation.probe_table import collect_probes

    collect_probes(args.probes, args.output)


def details(args: argparse.Namespace) -> None:
    """Where the chosen finetuned networks of one dataset and backbone err, by element, motion and hydrogen bonds."""
    from priorbench.evaluation.details import details

    details(args.models, args.trials_csv, args.frames, args.neighbours, args.splits, args.threads, args.output)


def collect_details(args: argparse.Namespace) -> None:
    """Gather where networks err into one table, and the sample of labels and predictions into another."""
    from priorbench.evaluation.details_table import collect_details

    collect_details(args.details, args.details_csv, args.parity_csv)


def collect(args: argparse.Namespace) -> None:
    """Gather the records, learning curves, trials and test structures of all runs into flat tables."""
    from priorbench.analysis.collect import collect

    collect(args.runs, args.runs_csv, args.curves_csv, args.structures_csv, args.trials_csv)


def statistics(args: argparse.Namespace) -> None:
    """Means, intervals and paired comparisons."""
    from priorbench.analysis.statistics import statistics

    statistics(args.runs_csv, args.curves_csv, args.output, args.structures_csv)


def tables(args: argparse.Namespace) -> None:
    """RMSE tables as CSV, Markdown and LaTeX."""
    from priorbench.analysis.tables import tables

    tables(args.runs_csv, args.statistics, json_object(args.evidence), args.output)


def figures(args: argparse.Namespace) -> None:
    """Convergence and RMSE figures as PDF and PNG."""
    from priorbench.analysis.figures import figures

    figures(args.runs_csv, args.curves_csv, args.statistics, args.output)


def details_figure(args: argparse.Namespace) -> None:
    """Figure of test errors by part of the motion and by element, as PDF and PNG."""
    from priorbench.analysis.details_figure import draw_details

    draw_details(args.details_csv, args.statistics, args.output)


def claims(args: argparse.Namespace) -> None:
    """A verdict on each claim of the paper."""
    from priorbench.analysis.claims import claims

    claims(args.runs_csv, args.curves_csv, args.statistics, json_object(args.evidence), args.output)


def answer(args: argparse.Namespace) -> None:
    """Answer one question: a verdict, a table and a figure."""
    from priorbench.questions.answer import answer

    tables = args.runs_csv, args.curves_csv, args.statistics
    answer(args.question, *tables, json_object(args.evidence), args.output, args.probes_csv, args.structures_csv)


def accounting(args: argparse.Namespace) -> None:
    """Write where the time of an experiment went."""
    from priorbench.analysis.accounting import accounting

    accounting(args.experiment, args.cores, args.started, args.output)


def summary(args: argparse.Namespace) -> None:
    """Print the RMSE table, the verdicts, where the time went and where everything lies."""
    from priorbench.analysis.summary import summary

    print(summary(args.experiment))


def report(args: argparse.Namespace) -> None:
    """Write the one page of an experiment: interactive, in one file, offline."""
    from priorbench.report.page import report

    report(args.experiment, args.output, args.data, args.configfile)


def check(args: argparse.Namespace) -> None:
    """Validate a configuration file and print it with every default, or the folder of its results."""
    import yaml

    from priorbench.config import load_config

    if args.folder:
        print(load_config(args.config).analysis_folder)
        return
    print(yaml.safe_dump(load_config(args.config).model_dump(mode="json"), sort_keys=False), end="")


def plan(args: argparse.Namespace) -> None:
    """Print the runs of an experiment and what they will cost, before anything starts."""
    from priorbench.plan.command import plan

    plan(args.config, args.machine, args.cores, args.measure, args.json, args.save)


def run(args: argparse.Namespace) -> None:
    """Run an experiment with Snakemake: with bars on a terminal, with Snakemake's own lines elsewhere."""
    from priorbench.follow import run

    if code := run(args.config, args.cores):
        sys.exit(code)


def status(args: argparse.Namespace) -> None:
    """Show where every run of an experiment stands: queued, running, cut, failed, diverged or done."""
    from priorbench.status import status, watch

    if args.watch:
        watch(args.config, args.results)
    else:
        status(args.config, args.json, args.results)


def bench(args: argparse.Namespace) -> None:
    """Time training steps on this machine, beside a plain PyTorch Geometric version and against an earlier report."""
    from priorbench.bench.command import bench
    from priorbench.bench.options import Options

    names = ("backbones", "tasks", "atoms", "batch_size", "threads", "device", "gpu", "seconds", "textbook")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    several: dict[str, Any] = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    options = Options(**{**given, **several})
    bench(options, args.suites, args.output, args.name, args.against, args.tolerance)


def schema(args: argparse.Namespace) -> None:
    """Write the generated schemas and the key reference, or check that they are up to date."""
    from priorbench.schema import write_schemas

    write_schemas(args.root, check=args.check)


def _path(parser: argparse.ArgumentParser, name: str, text: str, **options: Any) -> None:
    parser.add_argument(name, type=Path, required=options.pop("required", True), help=text, **options)


def _trained_inputs(parser: argparse.ArgumentParser, **several: Any) -> None:
    _path(parser, "--frames", "frames file")
    _path(parser, "--neighbours", "neighbour lists of the backbone's cutoff")
    _path(parser, "--split", "split file", **several)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; part of what the numbers depend on")
    _path(parser, "--output", "what is written", **several)


def _tables_inputs(parser: argparse.ArgumentParser, *names: str) -> None:
    for name in names:
        _path(parser, f"--{name}", f"{name} of the experiment")


def _data_commands(command: AddCommand) -> None:
    sub = command("acquire", acquire)
    sub.add_argument("--dataset", required=True, help="dataset spec (JSON)")
    sub.add_argument("--part", required=True, help="name of the part")
    _path(sub, "--mirror", "folder tried before any download", required=False)
    _path(sub, "--output", "part file (.npz)")
    sub = command("convert", convert)
    sub.add_argument("--dataset", required=True, help="dataset spec (JSON)")
    _path(sub, "--parts", "part files", nargs="+")
    _path(sub, "--output", "frames file")
    sub = command("relabel", relabel)
    _path(sub, "--frames", "frames file")
    sub.add_argument("--by", required=True, help="name of the labels and their options (JSON)")
    _path(sub, "--output", "frames file with the new labels")
    sub = command("checks", checks)
    sub.add_argument("--dataset", required=True, help="dataset spec (JSON)")
    _path(sub, "--parts", "part files", nargs="+")
    _path(sub, "--output", "figure without its suffix; .pdf and .png are written")
    sub = command("card", card)
    _path(sub, "--frames", "frames file")
    _path(sub, "--splits", "split files of the frames", nargs="+")
    _path(sub, "--output", "folder of card.{json,md,png,pdf}")
    sub = command("neighbours", neighbours)
    _path(sub, "--frames", "frames file")
    sub.add_argument("--cutoff", type=float, required=True, help="Å")
    _path(sub, "--output", "neighbour lists")
    sub = command("split", split)
    _path(sub, "--frames", "frames file")
    sub.add_argument("--spec", required=True, help="split spec (JSON)")
    _path(sub, "--output", "split file (.json)")


def _run_commands(command: AddCommand) -> None:
    for name in ("pretrain", "finetune"):
        sub = command(name, train)
        sub.add_argument("--spec", required=True, help="run spec (JSON or @file); for several, `seeds` in it")
        _trained_inputs(sub, nargs="+")
        text = "seeds that train side by side, a process and a share of the threads each (default: one after the other)"
        sub.add_argument("--at-once", type=int, default=1, help=text)
        sub.add_argument("--keep-checkpoint", action="store_true", help="leave it there when the run is done")
    _path(sub, "--parent", "pretrained weights to start from, one a seed", required=False, nargs="+")
    _path(sub, "--budget", "record of the pretraining whose FLOPs are matched, one a seed", required=False, nargs="+")
    sub = command("evaluate", evaluate)
    _path(sub, "--model", "finetuned network")
    _trained_inputs(sub)
    sub = command("probe", probe)
    _path(sub, "--models", "pretrained and finetuned networks of one dataset, backbone and seed", nargs="+")
    _trained_inputs(sub)


def _details_commands(command: AddCommand) -> None:
    sub = command("details", details)
    _path(sub, "--models", "finetuned networks of one dataset and backbone", nargs="+")
    _path(sub, "--trials-csv", "which trials were chosen; the others are not tested")
    _path(sub, "--frames", "frames file")
    _path(sub, "--neighbours", "neighbour lists of the backbone's cutoff")
    _path(sub, "--splits", "split files, one a seed", nargs="+")
    sub.add_argument("--threads", type=int, default=1, help="CPU threads; part of what the numbers depend on")
    _path(sub, "--output", "what is written (.json)")
    sub = command("collect-details", collect_details)
    _path(sub, "--details", "files that `priorbench details` wrote", nargs="+")
    _tables_inputs(sub, "details-csv", "parity-csv")
    sub = command("details-figure", details_figure)
    _tables_inputs(sub, "details-csv", "statistics", "output")


def _analysis_commands(command: AddCommand) -> None:
    sub = command("collect", collect)
    _path(sub, "--runs", "run folders", nargs="+")
    _tables_inputs(sub, "runs-csv", "curves-csv")
    _path(sub, "--structures-csv", "errors of every test structure, written if given", required=False)
    _path(sub, "--trials-csv", "validation errors of every trial, written if given", required=False)
    sub = command("collect-probes", collect_probes)
    _path(sub, "--probes", "tables that `priorbench probe` wrote", nargs="+")
    _path(sub, "--output", "probes.csv")
    sub = command("statistics", statistics)
    _tables_inputs(sub, "runs-csv", "curves-csv", "output")
    _path(sub, "--structures-csv", "errors of every test structure, for the bootstrap within seeds", required=False)
    sub = command("tables", tables)
    _tables_inputs(sub, "runs-csv", "statistics", "output")
    sub.add_argument("--evidence", required=True, help="evidence floor (JSON)")
    _tables_inputs(command("figures", figures), "runs-csv", "curves-csv", "statistics", "output")
    sub = command("claims", claims)
    _tables_inputs(sub, "runs-csv", "curves-csv", "statistics", "output")
    sub.add_argument("--evidence", required=True, help="evidence floor (JSON)")
    sub = command("answer", answer)
    sub.add_argument("--question", required=True, help="name of a registered question: q1 … q10 and others")
    _tables_inputs(sub, "runs-csv", "curves-csv", "statistics", "output")
    sub.add_argument("--evidence", required=True, help="evidence floor (JSON)")
    _path(sub, "--probes-csv", "probes of frozen features, for q8", required=False)
    _path(sub, "--structures-csv", "errors of every test structure, for the cost per atom in q5", required=False)
    sub = command("accounting", accounting)
    _path(sub, "--experiment", "folder results/<experiment>")
    _path(sub, "--output", "folder that gets accounting.json (default: that of the experiment)", required=False)
    sub.add_argument("--cores", default="all", help="that jobs could take: a number, or all of this machine (default)")
    sub.add_argument("--started", type=float, help="when the run began, Unix time in s (default: with its first job)")
    _path(command("summary", summary), "--experiment", "folder results/<experiment>")
    sub = command("report", report)
    _path(sub, "--experiment", "folder with runs.csv, curves.csv and statistics.json, or folders of questions in it")
    _path(sub, "--data", "folder of the data cards (default: data in that of the experiment)", required=False)
    sub.add_argument("--configfile", help="that the printed commands name (default: the preset of the folder's name)")
    _path(sub, "--output", "report.html")


def _bench_command(command: AddCommand) -> None:
    sub = command("bench", bench)
    sub.add_argument("--suites", nargs="+", help="steps, startup, parallel, packed, calculator, scale (default: all)")
    sub.add_argument("--backbones", nargs="+", help="registered backbones, at their default options (default: all)")
    sub.add_argument("--tasks", nargs="+", help="registered tasks (default: all)")
    sub.add_argument("--atoms", nargs="+", type=int, help="atoms of a structure (default: 192 774 for steps)")
    sub.add_argument("--batch-size", type=int, help="structures of a step (default: 16)")
    sub.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    sub.add_argument("--device", choices=("cpu", "cuda"), help="where the networks run (default: cpu)")
    sub.add_argument("--gpu", nargs="+", help="how a GPU computes: compile, fast (not deterministic), tf32")
    sub.add_argument("--seconds", type=float, help="of timed steps in a cell, three steps at least (default: 5)")
    sub.add_argument("--no-textbook", dest="textbook", action="store_false", help="leave the textbook version out")
    _path(sub, "--output", "folder that gets <name>.{json,md,png,pdf}", required=False)
    sub.add_argument("--name", help="of the files (default: from the processor or GPU)")
    _path(sub, "--against", "earlier report (.json) that no cell may be slower than, in matmul units", required=False)
    sub.add_argument("--tolerance", type=float, default=0.15, help="how much slower is accepted (default: %(default)s)")


def _own_commands(command: AddCommand) -> None:
    """Of the configuration and the repository."""
    sub = command("check", check)
    sub.add_argument("config", type=Path, help="configuration file")
    sub.add_argument("--folder", action="store_true", help="print no more than where tables, figures and verdicts go")
    sub = command("plan", plan)
    sub.add_argument("config", type=Path, help="configuration file")
    _path(sub, "--machine", "report of `priorbench bench` (.json) of the machine planned for", required=False)
    sub.add_argument("--cores", type=int, help="that jobs take at once (default: all; of GPUs one)")
    text = "time a few steps on this machine (default), or take what --machine or a committed report has measured"
    sub.add_argument("--measure", action=argparse.BooleanOptionalAction, default=True, help=text)
    sub.add_argument("--json", action="store_true", help="print JSON in place of tables")
    sub.add_argument("--save", action="store_true", help="keep what jobs will ask a cluster for, beside the results")
    sub = command("run", run)
    sub.add_argument("config", type=Path, help="configuration file")
    sub.add_argument("--cores", default="all", help="that jobs take at once (default: all)")
    sub = command("status", status)
    sub.add_argument("config", type=Path, help="configuration file")
    sub.add_argument("--json", action="store_true", help="print JSON: one object a run")
    sub.add_argument("--watch", action="store_true", help="show it anew every two seconds until all is done")
    _path(sub, "--results", "folder of all experiments (default: results)", required=False, default=Path("results"))
    sub = command("schema", schema)
    sub.add_argument("--check", action="store_true", help="change nothing, fail when something is out of date")
    sub.add_argument("--root", type=Path, default=Path(), help="root of the repository")


def build_parser() -> argparse.ArgumentParser:
    """The parser with every command."""
    parser = argparse.ArgumentParser(prog="priorbench", description="Benchmark of pretraining strategies.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, function: Command) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        sub.set_defaults(function=function)
        return sub

    own = _data_commands, _run_commands, _details_commands, _analysis_commands, _bench_command, _own_commands
    for add in (*own, potential_commands):
        add(command)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 1 with one line on standard error when the input is at fault.

    75 where it was asked to stop and has saved what it did; 143 where it had nothing to save.
    """
    args = build_parser().parse_args(arguments)
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        args.function(args)
    except PriorbenchError as error:
        print(f"priorbench {args.command}: {error}", file=sys.stderr)
        return 1
    except Interrupted as error:
        print(f"priorbench {args.command}: asked to stop: {error}", file=sys.stderr)
        return TRY_AGAIN
    except OSError as error:  # a full disk, a folder that cannot be written
        print(f"priorbench {args.command}: {explained(error)}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        mend = "take smaller batches (batch_size) or a machine with more"
        print(f"priorbench {args.command}: not enough memory ({reason(error)}); {mend}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _leave(number: int, frame: object) -> None:
    """End as an exception does, so that temporary files and locks go."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
