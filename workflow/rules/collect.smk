"""Collecting: the records of all runs become flat tables.

In:  run.json, metrics.csv and test.json of every run, run.json and metrics.csv of every pretraining.
Out: runs.csv, curves.csv        one row per run; one row per epoch of every run and pretraining
     structures.csv, trials.csv  one row per run and test structure; one row per trial, validation errors only
"""


rule collect:
    """Gather all records into flat tables; of several trials of a run, keep the one that validates best."""
    input:
        every_run("run.json", "metrics.csv", "test.json"),
        every_pretraining("run.json", "metrics.csv"),
    output:
        runs="<analysis>/runs.csv",
        curves="<analysis>/curves.csv",
        structures="<analysis>/structures.csv",
        trials="<analysis>/trials.csv",
    log:
        "<logs>/collect.log",
    benchmark:
        "<benchmarks>/collect.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of("collect"),
        folders=folders,
    message:
        "Collect the records of all runs"
    shell:
        "priorbench collect --runs {params.folders:q}"
        " --runs-csv {output.runs:q} --curves-csv {output.curves:q}"
        " --structures-csv {output.structures:q} --trials-csv {output.trials:q} > {log:q} 2>&1"
