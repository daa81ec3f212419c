"""priorbench: does pretraining on structures alone make a neural potential better, or would longer training do the same?

Every dataset x backbone x strategy x seed of the configuration is one run.  A run's place says what it is:

    results/<experiment>/runs/<dataset>/<backbone>/<strategy>/seed<n>/

The rules are in workflow/rules, in the order of the work: data, pretrain, finetune, probes, analysis, questions.  Each
is one call of the `priorbench` command line.  config.yaml is the default experiment; `--configfile` takes another in
its place, and so does the name of a preset as a target: `snakemake q4 --cores 2` runs workflow/presets/q4.yaml.
"""

import os
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

# Targets are not known yet while a Snakefile is read; of the command line's words, one may name a preset.
PRESETS = {path.stem: path for path in Path("workflow/presets").glob("*.yaml")}
ASKED = [
    word for word in sys.argv[1:] if word in PRESETS and not workflow.configfiles
]

# A preset is a whole experiment: it replaces the default one instead of being merged into it.
if ASKED:
    if len(set(ASKED)) > 1:
        sys.exit(f"Error: {', '.join(ASKED)}: one preset at a time")
    configfile: PRESETS[ASKED[0]]
    # So that jobs, which are Snakemake processes of their own, read the same file.
    workflow.config_settings.configfiles.append(PRESETS[ASKED[0]].absolute())
elif not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"


pathvars:
    results=f"results/{CONFIG.experiment}",
    analysis=ANALYSIS,
    logs=f"results/{CONFIG.experiment}/logs",
    benchmarks=f"results/{CONFIG.experiment}/benchmarks",


wildcard_constraints:
    dataset=one_of(CONFIG.datasets),
    backbone=one_of(CONFIG.backbones),
    pretraining=one_of(CONFIG.pretraining),
    strategy=one_of(CONFIG.trials),
    seed=r"\d+",
    cutoff=r"\d+(\.\d+)?",
    labels=r"[A-Za-z0-9_]+",
    part=r"[^/]+",


report: "workflow/report/workflow.rst"


include: "workflow/rules/data.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/probes.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/questions.smk"


# On a cluster these seconds of work are not worth a job.
localrules:
    split,
    collect,
    statistics,
    make_tables,
    make_figures,
    judge_claims,
    collect_probes,
    answer,
    all,
    data,
    tables,
    figures,
    claims,


rule all:
    """The whole experiment: every run, tables, figures and verdicts, or the answer to its question."""
    default_target: True
    input:
        rules.collect.output,
        rules.make_tables.output,
        rules.make_figures.output,
        rules.answer.output if CONFIG.question else rules.judge_claims.output,
        expand(rules.card.output, dataset=CONFIG.datasets),
        expand(rules.checks.output, dataset=generated()),


if PRESETS.get(Path(CONFIGFILE).stem):

    rule:
        """All of the preset of this name."""
        name:
            Path(CONFIGFILE).stem
        input:
            rules.all.input,


rule data:
    """Every dataset ready for training, with its card: the place to look before anything is spent on training."""
    input:
        expand(rules.card.output, dataset=CONFIG.datasets),
        expand(rules.checks.output, dataset=generated()),
        every_neighbours(),


rule tables:
    """Test errors of every strategy with 95 % intervals, as CSV, Markdown and LaTeX."""
    input:
        rules.make_tables.output,


rule figures:
    """Convergence by epoch and by second, and errors by strategy, as PDF and PNG."""
    input:
        rules.make_figures.output,


rule claims:
    """A verdict for each claim of the paper, with the numbers that led to it."""
    input:
        rules.judge_claims.output,
