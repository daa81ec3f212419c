"""Commands for potentials: model card, export, molecular dynamics."""

import argparse
from collections.abc import Callable
from pathlib import Path

Command = Callable[[argparse.Namespace], None]


def describe(args: argparse.Namespace) -> None:
    """Print the model card of a potential: network, data, errors, domain, units."""
    from priorbench.potential.card import describe

    print(describe(args.model, args.json), end="")


def export(args: argparse.Namespace) -> None:
    """Write a potential as a torch.export package, which runs without priorbench."""
    from priorbench.potential.export import export

    export(args.model, args.output)


def dynamics(args: argparse.Namespace) -> None:
    """Run molecular dynamics with a potential from one of its test structures, and compare it with the data."""
    from priorbench.cli import json_object
    from priorbench.potential.dynamics import dynamics

    dynamics(args.model, args.trials_csv, args.frames, args.split, json_object(args.spec), args.threads, args.output)


def collect_dynamics(args: argparse.Namespace) -> None:
    """Gather what the dynamics of all potentials found into a table, and their distributions into another."""
    from priorbench.potential.dynamics_table import collect_dynamics

    collect_dynamics(args.records, args.table, args.distributions)


def dynamics_figure(args: argparse.Namespace) -> None:
    """Figure of stability, distributions and energy drift, as PDF and PNG."""
    from priorbench.analysis.dynamics_figure import draw_dynamics

    draw_dynamics(args.table, args.distributions, args.statistics, args.output)


def potential_commands(command: Callable[[str, Command], argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    model = "finetuned network (model.safetensors)"
    sub = command("describe", describe)
    sub.add_argument("model", type=Path, help=model)
    sub.add_argument("--json", action="store_true", help="print JSON in place of Markdown")
    sub = command("export", export)
    sub.add_argument("model", type=Path, help=model)
    sub.add_argument("--output", type=Path, required=True, help="package (.pt2)")
    sub = command("dynamics", dynamics)
    sub.add_argument("--model", type=Path, required=True, help=model)
    sub.add_argument("--trials-csv", type=Path, help="which trials were chosen; of others no dynamics is run")
    sub.add_argument("--frames", type=Path, required=True, help="frames file")
    sub.add_argument("--split", type=Path, required=True, help="split file of the network's seed")
    sub.add_argument("--spec", default="{}", help="keys of the configuration's `dynamics` that differ (JSON)")
    sub.add_argument("--threads", type=int, default=1, help="CPU threads")
    sub.add_argument("--output", type=Path, required=True, help="record (.json)")
    sub = command("collect-dynamics", collect_dynamics)
    sub.add_argument("--records", type=Path, nargs="+", required=True, help="records of `priorbench dynamics`")
    for name in ("table", "distributions"):
        sub.add_argument(f"--{name}", type=Path, required=True, help=f"{name} (.csv), written")
    sub = command("dynamics-figure", dynamics_figure)
    for name in ("table", "distributions", "statistics"):
        sub.add_argument(f"--{name}", type=Path, required=True, help=f"{name} of the experiment's dynamics")
    sub.add_argument("--output", type=Path, required=True, help="folder that gets dynamics.{pdf,png}")
