"""Pretraining: a network learns from the training structures alone, without energies and forces.

In:  frames, neighbours and split of the seed.
Out: pretrained/<dataset>/<backbone>/<pretraining>/seed<n>/
       model.safetensors  all weights, heads included
       run.json           spec, seconds, counted FLOPs, checksums
       metrics.csv        one row per epoch; validation loss against its context-free floor
"""


rule pretrain:
    """Train a backbone on a pretraining task; same seed, same initial weights as every run it is compared with."""
    input:
        unpack(structures),
    output:
        model="<results>/pretrained/{dataset}/{backbone}/{pretraining}/seed{seed}/model.safetensors",
        record="<results>/pretrained/{dataset}/{backbone}/{pretraining}/seed{seed}/run.json",
        metrics="<results>/pretrained/{dataset}/{backbone}/{pretraining}/seed{seed}/metrics.csv",
    log:
        "<logs>/pretrain/{dataset}/{backbone}/{pretraining}/seed{seed}.log",
    benchmark:
        "<benchmarks>/pretrain/{dataset}/{backbone}/{pretraining}/seed{seed}.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=GPUS,
    params:
        spec=spec_of_pretraining,
        directory=subpath(output.model, parent=True),
    message:
        "Pretrain {wildcards.backbone} by {wildcards.pretraining} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "priorbench pretrain --spec {params.spec:q} --frames {input.frames:q} --neighbours {input.neighbours:q}"
        " --split {input.split:q} --threads {threads} --output {params.directory:q} > {log:q} 2>&1"
