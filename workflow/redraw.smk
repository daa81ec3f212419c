"""Redrawing kept results: the analysis of an experiment without its runs, in under a minute."""


include: "rules/shared.smk"
include: "rules/kept.smk"


pathvars:
    analysis=ANALYSIS,
    logs=f"{ANALYSIS}/logs",
    benchmarks=f"{ANALYSIS}/benchmarks",


wildcard_constraints:
    kept="|".join(map(re.escape, KEPT)),


include: "rules/redraw.smk"
include: "rules/analysis.smk"
include: "rules/questions.smk"
include: "rules/report.smk"


localrules:
    recall,
    statistics,
    make_tables,
    make_figures,
    draw_details,
    draw_dynamics,
    judge_claims,
    answer,
    report,
    tables,
    figures,
    claims,


EVERYTHING = [
    *each_kept(rules.make_tables.output),
    *each_kept(rules.make_figures.output),
    *each_kept(rules.draw_details.output, having="details.csv"),
    *each_kept(rules.draw_dynamics.output, having="dynamics.csv"),
    *each_kept(rules.judge_claims.output, questions=False),
    *each_kept(rules.answer.output, questions=True),
    *each_kept(rules.report.output),
]


rule tables:
    """Every table of errors."""
    input:
        each_kept(rules.make_tables.output),


rule figures:
    """Every figure and table, answers included."""
    input:
        each_kept(rules.make_tables.output),
        each_kept(rules.make_figures.output),
        each_kept(rules.draw_details.output, having="details.csv"),
        each_kept(rules.draw_dynamics.output, having="dynamics.csv"),
        each_kept(rules.answer.output, questions=True),


rule claims:
    """Every verdict."""
    input:
        each_kept(rules.judge_claims.output, questions=False),
