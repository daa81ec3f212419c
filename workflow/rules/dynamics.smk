"""Dynamics: does a potential do physics, and does pretraining help where it matters?

In:  a finetuned network, frames and the split of its seed; trials.csv, for of several trials only the chosen one runs
Out: dynamics/<dataset>/<backbone>/<strategy>/seed<n>.json
       energy drift in NVE, stability in NVT, distributions beside those of the data
     dynamics.csv, distributions.csv  of all of them
     figures/dynamics.{pdf,png}       drawn from these by a rule of the analysis

Part of `all` where the configuration has a section `dynamics`; else asked for by `snakemake dynamics`.
"""


rule simulate:
    """Run molecular dynamics from a test structure, without and with a thermostat."""
    input:
        model="<results>/runs/{dataset}/{backbone}/{strategy}/seed{seed}/model.safetensors",
        frames="<results>/data/{dataset}/frames.safetensors",
        split="<results>/data/{dataset}/split-seed{seed}.json",
        trials="<analysis>/trials.csv",
    output:
        "<analysis>/dynamics/{dataset}/{backbone}/{strategy}/seed{seed}.json",
    log:
        "<logs>/dynamics/{dataset}/{backbone}/{strategy}/seed{seed}.log",
    benchmark:
        "<benchmarks>/dynamics/{dataset}/{backbone}/{strategy}/seed{seed}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=GPUS,
    params:
        code=code_of_dynamics,
        spec=DYNAMICS,
    message:
        "Simulate with {wildcards.backbone} by {wildcards.strategy} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "priorbench dynamics --model {input.model:q} --trials-csv {input.trials:q} --frames {input.frames:q}"
        " --split {input.split:q} --spec {params.spec:q} --threads {threads} --output {output:q} > {log:q} 2>&1"


rule collect_dynamics:
    """Gather what the simulations found."""
    input:
        every_simulation(),
    output:
        table="<analysis>/dynamics.csv",
        distributions="<analysis>/distributions.csv",
    log:
        "<logs>/collect_dynamics.log",
    benchmark:
        "<benchmarks>/collect_dynamics.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of("collect-dynamics"),
    message:
        "Collect the dynamics"
    shell:
        "priorbench collect-dynamics --records {input:q} --table {output.table:q}"
        " --distributions {output.distributions:q} > {log:q} 2>&1"
