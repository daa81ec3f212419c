"""Finetuning: energies and forces are fitted, in the same way for every strategy.

In:  frames, neighbours and split of the seed, and what the strategy takes from the pretraining of the same seed:
       scratch         nothing
       longer-steps    nothing; it takes as many further optimiser steps as the pretraining would
       longer-compute  the record of the pretraining; it spends the same counted FLOPs
       pretrained      the weights
Out: runs/<dataset>/<backbone>/<strategy>/seed<n>/ with model.safetensors, run.json and metrics.csv
"""


rule finetune:
    """Fit energies and forces from the start that the strategy gives."""
    input:
        unpack(structures),
        unpack(ancestry),
    output:
        model="<results>/runs/{dataset}/{backbone}/{strategy}/seed{seed}/model.safetensors",
        record="<results>/runs/{dataset}/{backbone}/{strategy}/seed{seed}/run.json",
        metrics="<results>/runs/{dataset}/{backbone}/{strategy}/seed{seed}/metrics.csv",
    log:
        "<logs>/finetune/{dataset}/{backbone}/{strategy}/seed{seed}.log",
    benchmark:
        "<benchmarks>/finetune/{dataset}/{backbone}/{strategy}/seed{seed}.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=GPUS,
    params:
        spec=spec_of_finetuning,
        ancestry=ancestry_options,
        directory=subpath(output.model, parent=True),
    message:
        "Finetune {wildcards.backbone} by {wildcards.strategy} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "priorbench finetune --spec {params.spec:q} --frames {input.frames:q} --neighbours {input.neighbours:q}"
        " --split {input.split:q} --threads {threads} {params.ancestry:q} --output {params.directory:q} > {log:q} 2>&1"
