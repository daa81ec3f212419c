"""An experiment: which files belong to it, in which order its rules come, and what can be asked for."""


include: "rules/shared.smk"
include: "rules/common.smk"


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


report: "report/workflow.rst"


include: "rules/data.smk"
include: "rules/pretrain.smk"
include: "rules/finetune.smk"
include: "rules/probes.smk"
include: "rules/collect.smk"
include: "rules/details.smk"
include: "rules/analysis.smk"
include: "rules/dynamics.smk"
include: "rules/questions.smk"
include: "rules/report.smk"


# On a cluster these seconds of work are not worth a job.
localrules:
    split,
    collect,
    statistics,
    make_tables,
    make_figures,
    draw_details,
    draw_dynamics,
    judge_claims,
    collect_probes,
    collect_details,
    collect_dynamics,
    answer,
    report,
    data,
    tables,
    figures,
    claims,
    dynamics,


# What the report shows.
REPORTED = [
    *rules.collect.output,
    *rules.make_tables.output,
    *rules.make_figures.output,
    *rules.collect_details.output,
    *rules.draw_details.output,
    *(rules.answer.output if CONFIG.question else rules.judge_claims.output),
    *(rules.collect_dynamics.output if CONFIG.dynamics else []),
    *(rules.draw_dynamics.output if CONFIG.dynamics else []),
    *expand(rules.card.output, dataset=CONFIG.datasets),
    *expand(rules.checks.output, dataset=generated()),
]
# What it was made from, so that a deleted file of it comes back although nothing reads it any more.  Data are left out:
# what was trained on them would be trained again; whoever deletes them may ask for them by their names.
RESULTS = [
    *every_pretraining("model.safetensors", "run.json", "metrics.csv"),
    *every_run("model.safetensors", "run.json", "metrics.csv", "test.json"),
    *every_details(),
    *(every_simulation() if CONFIG.dynamics else []),
    *(every_probe() if CONFIG.question == "q8" else []),
    *(rules.collect_probes.output if CONFIG.question == "q8" else []),
    *rules.statistics.output,
]
EVERYTHING = [*REPORTED, *rules.report.output, *RESULTS]


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
    """Convergence by epoch and by second, and errors by strategy, by element and by part, as PDF and PNG."""
    input:
        rules.make_figures.output,
        rules.draw_details.output,


rule claims:
    """A verdict for each claim of the paper, with the numbers that led to it."""
    input:
        rules.judge_claims.output,


rule dynamics:
    """Molecular dynamics with every chosen potential: energy drift, stability, distributions beside the data's."""
    input:
        rules.collect_dynamics.output,
        rules.draw_dynamics.output,
