"""Redrawing: every table, figure and verdict from the kept tables of earlier experiments, without any training.

In:  <folder>/runs.csv, curves.csv and, where they were kept, structures.csv, probes.csv, details.csv,
       dynamics.csv and distributions.csv.
Out: results/redrawn/<name>/, laid out as the experiment's own folder.
"""


rule recall:
    """Take the tables of an experiment as they were kept."""
    input:
        lambda wildcards: os.path.join(
            KEPT[wildcards.kept].folder, f"{wildcards.table}.csv"
        ),
    output:
        "<analysis>/{table}.csv",
    log:
        "<logs>/recall-{table}.log",
    wildcard_constraints:
        table="runs|curves|structures|probes|details|parity|dynamics|distributions",
    conda:
        "../../envs/cpu.yaml"
    message:
        "Take {wildcards.table} of {wildcards.kept}"
    shell:
        "cp {input:q} {output:q} 2> {log:q}"
