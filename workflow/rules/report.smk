"""Report: everything an experiment found, on one page that opens offline.

In:  every table, figure, verdict and card of the experiment
Out: report.html
"""


rule report:
    """Put every number and figure on one page; `make run` leaves Snakemake's own report beside it."""
    input:
        reported,
    output:
        report(
            "<analysis>/report.html",
            caption="../report/report.rst",
            category="0. Report",
            labels={"what": "report"},
        ),
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of("report"),
        experiment=subpath(output[0], parent=True),
        data=option("--data", data_cards()),
        configfile=CONFIGFILE,
    message:
        "Write the report"
    shell:
        "priorbench report --experiment {params.experiment:q} {params.data:q} --configfile {params.configfile:q}"
        " --output {output:q} > {log:q} 2>&1"
