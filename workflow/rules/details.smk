"""Details: where the finetuned networks err, by element, by part of the motion and by hydrogen bonds.

In:  frames, neighbours, all splits and all finetuned networks of one dataset and backbone; trials.csv
Out: details/<dataset>/<backbone>.json
       errors of the chosen trials on the test structures, and a sample of labels and predictions
     details.csv, parity.csv      the same of all of them
     figures/details.{pdf,png}    drawn from details.csv by a rule of the analysis

One process reads all networks of a dataset and backbone: starting it takes longer than what it computes.
"""


rule details:
    """Test the chosen networks of a dataset and backbone once more, and divide their errors."""
    input:
        unpack(structures_of_details),
        models=finetuned_models,
        trials="<analysis>/trials.csv",
    output:
        "<analysis>/details/{dataset}/{backbone}.json",
    log:
        "<logs>/details/{dataset}/{backbone}.log",
    benchmark:
        "<benchmarks>/details/{dataset}/{backbone}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=GPUS,
    params:
        code=code_of_details,
    message:
        "Divide the errors of {wildcards.backbone} on {wildcards.dataset}"
    shell:
        "priorbench details --models {input.models:q} --trials-csv {input.trials:q} --frames {input.frames:q}"
        " --neighbours {input.neighbours:q} --splits {input.splits:q} --threads {threads} --output {output:q} > {log:q} 2>&1"


rule collect_details:
    """Gather the details into one table, the samples into another."""
    input:
        every_details(),
    output:
        details="<analysis>/details.csv",
        parity="<analysis>/parity.csv",
    log:
        "<logs>/collect_details.log",
    benchmark:
        "<benchmarks>/collect_details.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of("collect-details"),
    message:
        "Collect the details"
    shell:
        "priorbench collect-details --details {input:q} --details-csv {output.details:q}"
        " --parity-csv {output.parity:q} > {log:q} 2>&1"
