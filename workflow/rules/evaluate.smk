"""Evaluation: the one place where the test structures are read.

In:  the kept weights of a run, frames, neighbours and split of its seed.
Out: runs/<dataset>/<backbone>/<strategy>/seed<n>/test.json, the errors of the run and of the trivial predictor
     (zero force, mean energy) on the same structures
"""


rule evaluate:
    """Test one run on the structures that its seed holds back."""
    input:
        unpack(structures),
        model="<results>/runs/{dataset}/{backbone}/{strategy}/seed{seed}/model.safetensors",
    output:
        "<results>/runs/{dataset}/{backbone}/{strategy}/seed{seed}/test.json",
    log:
        "<logs>/evaluate/{dataset}/{backbone}/{strategy}/seed{seed}.log",
    benchmark:
        "<benchmarks>/evaluate/{dataset}/{backbone}/{strategy}/seed{seed}.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=GPUS,
    message:
        "Evaluate {wildcards.backbone} by {wildcards.strategy} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "priorbench evaluate --model {input.model:q} --frames {input.frames:q} --neighbours {input.neighbours:q}"
        " --split {input.split:q} --threads {threads} --output {output:q} > {log:q} 2>&1"
