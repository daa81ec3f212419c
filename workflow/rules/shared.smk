"""What every workflow of this project shares: the path of its command, and options for files that may not be there."""

import os
import sys

# Jobs find `priorbench` beside the Python that runs Snakemake, whether or not its environment is activated.
os.environ.update(
    PATH=os.pathsep.join(
        [os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]
    )
)


def page_of(question, details, dynamics):
    """What an experiment's page is made from: its tables, its verdicts or its answer, and what else it has."""
    files = ["runs.csv", "curves.csv", "statistics.json"]
    files += (
        [f"answer/{name}" for name in ("answer.json", "answer.md", "figure.png")]
        if question
        else ["claims.json", "claims.md"]
    )
    files += ["details.csv", "parity.csv"] if details else []
    files += ["dynamics.csv", "figures/dynamics.png"] if dynamics else []
    return [f"<analysis>/{file}" for file in files]


def option(name, files):
    """A command-line option for the one file, or none for no file."""
    return [name, *files] if files else []
