"""Analysis: from the tables of all runs to intervals, tables, figures and verdicts.

In:  runs.csv, curves.csv, structures.csv, just collected or kept from an earlier run.
Out: statistics.json            means with 95 % intervals, paired comparisons with scratch and longer
     tables/rmse.{csv,md,tex}   test errors with intervals, compute and the trivial predictor beside them
     figures/                   convergence.{pdf,png}, rmse.{pdf,png}; from details.csv, details.{pdf,png}, and from
                                dynamics.csv and distributions.csv, dynamics.{pdf,png}
     claims.{json,md}           a verdict per claim, with the numbers that led to it
"""


rule statistics:
    """Estimate means, intervals and paired differences."""
    input:
        runs="<analysis>/runs.csv",
        curves="<analysis>/curves.csv",
        structures=tested_structures,
    output:
        "<analysis>/statistics.json",
    log:
        "<logs>/statistics.log",
    benchmark:
        "<benchmarks>/statistics.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of("statistics"),
        structures=lambda wildcards, input: option("--structures-csv", input.structures),
    message:
        "Estimate means, intervals and paired differences"
    shell:
        "priorbench statistics --runs-csv {input.runs:q} --curves-csv {input.curves:q} {params.structures:q}"
        " --output {output:q} > {log:q} 2>&1"


rule make_tables:
    """Write the error table for reading, for LaTeX and for machines."""
    input:
        runs="<analysis>/runs.csv",
        statistics="<analysis>/statistics.json",
    output:
        csv=report(
            "<analysis>/tables/rmse.csv",
            caption="../report/table.rst",
            category="1. Errors",
            labels={"what": "table"},
        ),
        markdown="<analysis>/tables/rmse.md",
        latex="<analysis>/tables/rmse.tex",
    log:
        "<logs>/tables.log",
    benchmark:
        "<benchmarks>/tables.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of("tables"),
        evidence=EVIDENCE,
        directory=subpath(output.csv, parent=True),
    message:
        "Write the tables"
    shell:
        "priorbench tables --runs-csv {input.runs:q} --statistics {input.statistics:q}"
        " --evidence {params.evidence:q} --output {params.directory:q} > {log:q} 2>&1"


rule make_figures:
    """Draw errors by strategy and convergence by epoch and by second."""
    input:
        runs="<analysis>/runs.csv",
        curves="<analysis>/curves.csv",
        statistics="<analysis>/statistics.json",
    output:
        errors=report(
            "<analysis>/figures/rmse.png",
            caption="../report/rmse.rst",
            category="1. Errors",
            labels={"what": "figure"},
        ),
        convergence=report(
            "<analysis>/figures/convergence.png",
            caption="../report/convergence.rst",
            category="2. Convergence",
            labels={"what": "figure"},
        ),
        errors_pdf="<analysis>/figures/rmse.pdf",
        convergence_pdf="<analysis>/figures/convergence.pdf",
    log:
        "<logs>/figures.log",
    benchmark:
        "<benchmarks>/figures.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of("figures"),
        directory=subpath(output.errors, parent=True),
    message:
        "Draw the figures"
    shell:
        "priorbench figures --runs-csv {input.runs:q} --curves-csv {input.curves:q}"
        " --statistics {input.statistics:q} --output {params.directory:q} > {log:q} 2>&1"


rule draw_details:
    """Draw errors by part of the motion and by element."""
    input:
        details="<analysis>/details.csv",
        statistics="<analysis>/statistics.json",
    output:
        figure=report(
            "<analysis>/figures/details.png",
            caption="../report/details.rst",
            category="1. Errors",
            labels={"what": "by part and element"},
        ),
        pdf="<analysis>/figures/details.pdf",
    log:
        "<logs>/draw_details.log",
    benchmark:
        "<benchmarks>/draw_details.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of("details-figure"),
        directory=subpath(output.figure, parent=True),
    message:
        "Draw the details"
    shell:
        "priorbench details-figure --details-csv {input.details:q} --statistics {input.statistics:q}"
        " --output {params.directory:q} > {log:q} 2>&1"


rule draw_dynamics:
    """Draw stability, distributions and energy drift."""
    input:
        table="<analysis>/dynamics.csv",
        distributions="<analysis>/distributions.csv",
        statistics="<analysis>/statistics.json",
    output:
        figure=report(
            "<analysis>/figures/dynamics.png",
            caption="../report/dynamics.rst",
            category="1. Errors",
            labels={"what": "in molecular dynamics"},
        ),
        pdf="<analysis>/figures/dynamics.pdf",
    log:
        "<logs>/draw_dynamics.log",
    benchmark:
        "<benchmarks>/draw_dynamics.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of("dynamics-figure"),
        directory=subpath(output.figure, parent=True),
    message:
        "Draw the dynamics"
    shell:
        "priorbench dynamics-figure --table {input.table:q} --distributions {input.distributions:q}"
        " --statistics {input.statistics:q} --output {params.directory:q} > {log:q} 2>&1"


rule judge_claims:
    """Judge every claim of the paper by the rules that were fixed beforehand."""
    input:
        runs="<analysis>/runs.csv",
        curves="<analysis>/curves.csv",
        statistics="<analysis>/statistics.json",
    output:
        json="<analysis>/claims.json",
        markdown=report(
            "<analysis>/claims.md",
            caption="../report/claims.rst",
            category="3. Claims",
            labels={"what": "verdicts"},
        ),
    log:
        "<logs>/claims.log",
    benchmark:
        "<benchmarks>/claims.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of("claims"),
        evidence=EVIDENCE,
        directory=subpath(output.json, parent=True),
    message:
        "Judge the claims"
    shell:
        "priorbench claims --runs-csv {input.runs:q} --curves-csv {input.curves:q}"
        " --statistics {input.statistics:q} --evidence {params.evidence:q}"
        " --output {params.directory:q} > {log:q} 2>&1"
