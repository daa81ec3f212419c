"""Questions: what an experiment was made for, answered with one figure, one table and a verdict of two sentences.

In:  runs.csv, curves.csv, structures.csv, statistics.json and, for what is learned, probes.csv.
Out: answer/answer.{md,json}, table.{csv,tex}, figure.{pdf,png}
"""


rule answer:
    """Answer the question by the rule that was fixed beforehand."""
    input:
        runs="<analysis>/runs.csv",
        curves="<analysis>/curves.csv",
        statistics="<analysis>/statistics.json",
        probes=probes_of_question,
        structures=tested_structures,
    output:
        json="<analysis>/answer/answer.json",
        markdown=report(
            "<analysis>/answer/answer.md",
            caption="../report/answer.rst",
            category="4. Questions",
            labels={"what": "answer"},
        ),
        figure=report(
            "<analysis>/answer/figure.png",
            caption="../report/answer.rst",
            category="4. Questions",
            labels={"what": "figure"},
        ),
        table="<analysis>/answer/table.csv",
        latex="<analysis>/answer/table.tex",
        vector="<analysis>/answer/figure.pdf",
    log:
        "<logs>/answer.log",
    benchmark:
        "<benchmarks>/answer.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of_answer,
        question=question_asked,
        evidence=EVIDENCE,
        tables=lambda wildcards, input: option("--probes-csv", input.probes)
        + option("--structures-csv", input.structures),
        directory=subpath(output.json, parent=True),
    message:
        "Answer the question"
    shell:
        "priorbench answer --question {params.question:q} --runs-csv {input.runs:q} --curves-csv {input.curves:q}"
        " --statistics {input.statistics:q} --structures-csv {input.structures:q}"
        " --evidence {params.evidence:q} {params.tables:q}"
        " --output {params.directory:q} > {log:q} 2>&1"
