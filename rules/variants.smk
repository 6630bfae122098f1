"""Variants of the training, compared on the validation snapshots: `snakemake variants`."""


rule variants:
    """The variants of the training compared on the validation snapshots."""
    input:
        f"{VARIANTS}/variants.md",


use rule compute_descriptors as compute_variant_descriptors with:
    output:
        f"{VARIANTS}/{{variant}}/descriptors/{{structure}}.h5",
    log:
        f"{RESULTS}/logs/compute_variant_descriptors/{{variant}}-{{structure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/compute_variant_descriptors/{{variant}}-{{structure}}.tsv"
    params:
        settings=lambda wildcards: VARIED[wildcards.variant].descriptors.to_json("ranks", "threads"),
        elements=sorted(STUDY.pseudopotentials),
        version=VERSIONS["descriptors"],


use rule train_model as train_variant with:
    input:
        module=script("train_model"),
        train_reference=lambda wildcards: [
            f"{RESULTS}/reference/{name}.h5" for name in STUDY.variant_training(wildcards.variant)
        ],
        train_descriptors=lambda wildcards: variant_descriptors(
            wildcards.variant, STUDY.variant_training(wildcards.variant)
        ),
        validation_reference=datasets("reference", "validation"),
        validation_descriptors=lambda wildcards: variant_descriptors(
            wildcards.variant, STUDY.snapshot_names("validation")
        ),
        pseudopotentials=PSEUDOPOTENTIALS,
    output:
        weights=f"{VARIANTS}/{{variant}}/model/model.safetensors",
        bundle=f"{VARIANTS}/{{variant}}/model/model.json",
        history=f"{VARIANTS}/{{variant}}/model/history.csv",
    log:
        f"{RESULTS}/logs/train_variant/{{variant}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_variant/{{variant}}.tsv"
    params:
        checkpoint=lambda wildcards: f"{VARIANTS}/{wildcards.variant}/model/checkpoint.safetensors",
        settings=lambda wildcards: VARIED[wildcards.variant].training.to_json("ranks", "threads"),
        pseudopotentials=PSEUDOPOTENTIAL_OPTIONS,
        seed=STUDY.seed,
        version=VERSIONS["training"],


rule score_model:
    """What a model costs, and its errors on the validation snapshots, predicted from the atoms."""
    input:
        module=script("score_model"),
        bundle=variant_file("model.json"),
        weights=variant_file("model.safetensors"),
        references=datasets("reference", "validation"),
    output:
        f"{VARIANTS}/{{variant}}/score.json",
    log:
        f"{RESULTS}/logs/score_model/{{variant}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/score_model/{{variant}}.tsv"
    conda:
        "../envs/nearsight.yaml"
    threads: STUDY.inference.threads
    resources:
        mem_mb=growing(INFERENCE_MB),
        runtime=growing(120),
    params:
        references=[
            f"{name}={path}"
            for name, path in zip(STUDY.snapshot_names("validation"), datasets("reference", "validation"))
        ],
        version=VERSIONS["inference"],
    shell:
        "python {input.module:q} --model {input.bundle:q} --weights {input.weights:q}"
        " --references {params.references:q} --threads {threads} --output {output:q}"
        " --memory-MB {resources.mem_mb} --log {log:q}"


rule compare_variants:
    """Table and figure of all variants: errors against cost."""
    input:
        module=script("compare_variants"),
        scores=list(SCORES.values()),
    output:
        markdown=f"{VARIANTS}/variants.md",
        csv=f"{VARIANTS}/variants.csv",
        png=report(
            f"{VARIANTS}/variants.png",
            caption="../report/variants.rst",
            category="Training",
            labels={"figure": "variants", "structure": "validation snapshots"},
        ),
        pdf=f"{VARIANTS}/variants.pdf",
    log:
        f"{RESULTS}/logs/compare_variants/variants.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare_variants/variants.tsv"
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        scores=[f"{variant}={path}" for variant, path in SCORES.items()],
        changes=json.dumps({name: variant.model_dump(exclude_none=True) for name, variant in STUDY.variants.items()}),
        version=VERSIONS["figures"],
    shell:
        "python {input.module:q} --scores {params.scores:q} --changes {params.changes:q}"
        " --markdown {output.markdown:q} --csv {output.csv:q} --png {output.png:q} --pdf {output.pdf:q} --log {log:q}"
