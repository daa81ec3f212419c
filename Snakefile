"""priorbench: does pretraining on structures alone make a neural potential better, or would longer training do the same?

Every dataset x backbone x strategy x seed of the configuration is one run.  A run's place says what it is:

    results/<experiment>/runs/<dataset>/<backbone>/<strategy>/seed<n>/

The rules are in workflow/rules, in the order of the work: data, pretrain, finetune, analysis.  Each is one
call of the `priorbench` command line.  config.yaml is the default experiment; `--configfile` takes another in its place.
"""

from snakemake.utils import min_version

min_version("9.27")


# A preset is a whole experiment: it replaces the default one instead of being merged into it.
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"


pathvars:
    results=f"results/{CONFIG.experiment}",
    logs=f"results/{CONFIG.experiment}/logs",
    benchmarks=f"results/{CONFIG.experiment}/benchmarks",


wildcard_constraints:
    dataset=one_of(CONFIG.datasets),
    backbone=one_of(CONFIG.backbones),
    pretraining=one_of(CONFIG.pretraining),
    strategy=one_of(CONFIG.strategies),
    seed=r"\d+",
    cutoff=r"\d+(\.\d+)?",
    part=r"[^/]+",


report: "workflow/report/workflow.rst"


include: "workflow/rules/data.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/analysis.smk"


# On a cluster these seconds of work are not worth a job.
localrules:
    split,
    collect,
    statistics,
    make_tables,
    make_figures,
    judge_claims,
    all,
    data,
    tables,
    figures,
    claims,


rule all:
    """The whole experiment: every run, tables, figures and verdicts."""
    default_target: True
    input:
        rules.collect.output,
        rules.make_tables.output,
        rules.make_figures.output,
        rules.judge_claims.output,
        expand(rules.card.output, dataset=CONFIG.datasets),
        expand(rules.checks.output, dataset=generated()),


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
