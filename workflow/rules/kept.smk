"""What the rules of the analysis share when they redraw kept results: the place of common.smk.

In:  `config` with the one section `redraw`.
Out: KEPT, the folders to redraw, and the input and parameter functions of the analysis.
"""

import json
import os
import re
import sys

from priorbench.config import Evidence
from priorbench.errors import PriorbenchError
from priorbench.redraw import parse_redraw

CONFIGFILE = os.path.relpath(workflow.configfiles[-1])
try:
    KEPT = parse_redraw(config, CONFIGFILE)
except PriorbenchError as error:
    sys.exit(f"Error: {error}")

ANALYSIS = "results/redrawn/{kept}"
EVIDENCE = json.dumps(Evidence().model_dump(), sort_keys=True)


def question_asked(wildcards):
    """The question that the experiment answered."""
    return KEPT[wildcards.kept].question


def code_of_answer(wildcards):
    """Of the answer to that question."""
    return code_of("answer", question=question_asked(wildcards))


def is_kept(name, table):
    """Whether the table is among what was kept."""
    return os.path.isfile(os.path.join(KEPT[name].folder, table))


def was_kept(wildcards, table):
    """The table, if it is among what was kept."""
    return [f"<analysis>/{table}"] if is_kept(wildcards.kept, table) else []


def probes_of_question(wildcards):
    """The table of probes, where one was kept."""
    return was_kept(wildcards, "probes.csv")


def tested_structures(wildcards):
    """The errors of every test structure, where they were kept."""
    return was_kept(wildcards, "structures.csv")


def reported(wildcards):
    """Everything that the report shows."""
    kept = wildcards.kept
    found = [*rules.make_tables.output, *rules.make_figures.output]
    found += ["<analysis>/parity.csv"] if is_kept(kept, "parity.csv") else []
    found += rules.draw_details.output if is_kept(kept, "details.csv") else []
    found += rules.draw_dynamics.output if is_kept(kept, "dynamics.csv") else []
    found += (rules.answer if question_asked(wildcards) else rules.judge_claims).output
    return expand(found, kept=wildcards.kept)


def data_cards():
    """No folder: cards are not redrawn."""
    return []


def each_kept(file, questions=None, having=None):
    """A file of every experiment, or of those that answered a question (or did not), or of which a table was kept."""
    names = [
        name
        for name, kept in KEPT.items()
        if (questions is None or questions == (kept.question is not None))
        and (having is None or is_kept(name, having))
    ]
    return expand(file, kept=names)
