"""The figures of the paper: data are prepared by one rule per figure, and drawn by another that reads nothing else.

With `--config deposited=FOLDER` the data come from a deposit (docs/figures/data) and nothing is computed; with `--config
available=true` held-out cells whose DFT is not done are left out, and no DFT is started for them.
"""


rule paper_figures:
    """Figures 1 to 4 of the paper from this study, or from a deposit, each with data, caption and provenance."""
    input:
        [f"{PAPER}/figure-{figure}.{kind}" for figure in TABLES for kind in ("png", "pdf", "txt")],


if DEPOSITED:

    rule take_deposit:
        """Data of all figures from a deposit, after a check against its manifest."""
        input:
            module=script("take_deposit"),
            deposit=[
                f"{DEPOSITED}/{name}"
                for name in (MANIFEST, *(name for figure in TABLES for name in data_names(figure)))
            ],
        output:
            [name for figure in TABLES for name in prepared(figure)],
        log:
            f"{PAPER}/logs/take_deposit/data.log",
        benchmark:
            f"{PAPER}/benchmarks/take_deposit/data.tsv"
        localrule: True
        conda:
            "../envs/nearsight.yaml"
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        params:
            deposit=DEPOSITED,
            version=VERSIONS["figures"],
        shell:
            "python {input.module:q} --deposit {params.deposit:q} --outputs {output:q} --log {log:q}"

else:

    rule prepare_stacking_fault:
        """Data of figure 1: energies with and without a stacking fault, its atoms, the density that it changes."""
        input:
            module=script("prepare_stacking_fault"),
            structures=[STRUCTURE.format(name) for name in PAIRED],
            energies=[ENERGY.format(name) for name in PAIRED],
            references=[REFERENCE.format(name) for name in PAIRED if name in EVALUATED],
            densities=[DENSITY.format(name) for name in DRAWN_PAIR],
        output:
            prepared("1"),
        log:
            f"{RESULTS}/logs/prepare_stacking_fault/1.log",
        benchmark:
            f"{RESULTS}/benchmarks/prepare_stacking_fault/1.tsv"
        conda:
            "../envs/nearsight.yaml"
        threads: 1
        resources:
            mem_mb=growing(4000),
            runtime=growing(60),
        params:
            pairs=json.dumps(FAULT_PAIRS),
            structures=named(STRUCTURE, PAIRED),
            energies=named(ENERGY, PAIRED),
            references=named(REFERENCE, [name for name in PAIRED if name in EVALUATED]),
            densities=named(DENSITY, DRAWN_PAIR),
            literature=json.dumps(STUDY.paper_figures.fault_energies_mJ_per_m2),
            settings=SETTINGS_TEXT,
            version=VERSIONS["figures"],
        shell:
            "python {input.module:q} --pairs {params.pairs:q} --structures {params.structures:q}"
            " --energies {params.energies:q} --references {params.references:q} --densities {params.densities:q}"
            " --literature {params.literature:q} --settings {params.settings:q} --outputs {output:q}"
            " --memory-MB {resources.mem_mb} --log {log:q}"

    rule prepare_cost:
        """Data of figure 2: processor times by number of atoms, and the graph of the rules."""
        input:
            module=script("prepare_cost"),
            scf=[SCF_TEXT.format(name) for name in TIMED],
            energies=[ENERGY.format(name) for name in (*SHOWN, *STUDY.supercells)],
            measured=MEASURED,
            rules=RULE_FILES,
            study=STUDY_FILES[0],
        output:
            prepared("2"),
        log:
            f"{RESULTS}/logs/prepare_cost/2.log",
        benchmark:
            f"{RESULTS}/benchmarks/prepare_cost/2.tsv"
        localrule: True
        conda:
            "../envs/nearsight.yaml"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(30),
            # which has Snakemake, also where the job has an environment of its own
            python=sys.executable,
        params:
            scf=named(SCF_TEXT, TIMED),
            energies=named(ENERGY, [*SHOWN, *STUDY.supercells]),
            benchmarks=f"{RESULTS}/benchmarks",
            batches=STUDY.inference.batches,
            snakefile=os.path.relpath(workflow.main_snakefile),
            overrides=json.dumps(OVERRIDES),
            settings=SETTINGS_TEXT,
            version=VERSIONS["figures"],
        shell:
            "python {input.module:q} --scf {params.scf:q} --energies {params.energies:q}"
            " --benchmarks {params.benchmarks:q} --batches {params.batches:q} --measured {input.measured:q}"
            " --snakefile {params.snakefile:q} --python {resources.python:q} --rules {input.rules:q} --study-file {input.study:q}"
            " --overrides {params.overrides:q} --settings {params.settings:q} --outputs {output:q} --log {log:q}"

    rule prepare_accuracy:
        """Data of figure 3: errors of the held-out cells, and their energies beside interatomic potentials'."""
        input:
            module=script("prepare_accuracy"),
            evaluations=[EVALUATION.format(name) for name in SHOWN],
            structures=[STRUCTURE.format(name) for name in SHOWN],
        output:
            prepared("3"),
        log:
            f"{RESULTS}/logs/prepare_accuracy/3.log",
        benchmark:
            f"{RESULTS}/benchmarks/prepare_accuracy/3.tsv"
        conda:
            "../envs/nearsight.yaml"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(60),
        params:
            cells=describe_all(HELD_OUT),
            evaluations=named(EVALUATION, SHOWN),
            structures=named(STRUCTURE, SHOWN),
            potentials=json.dumps(STUDY.paper_figures.potentials),
            settings=SETTINGS_TEXT,
            version=VERSIONS["figures"],
        shell:
            "python {input.module:q} --cells {params.cells:q} --evaluations {params.evaluations:q}"
            " --structures {params.structures:q} --potentials {params.potentials:q} --settings {params.settings:q}"
            " --outputs {output:q} --log {log:q}"

    rule prepare_similarity:
        """Data of figure 4: radial distribution functions and extrapolation scores beside the training set's."""
        input:
            module=script("prepare_similarity"),
            structures=[STRUCTURE.format(name) for name in (*LEARNED, *SHOWN, *STUDY.supercells)],
            plans=[PLAN.format(name) for name in (*LEARNED, *SHOWN, *STUDY.supercells)],
            bundle=f"{RESULTS}/model/model.json",
            weights=f"{RESULTS}/model/model.safetensors",
        output:
            prepared("4"),
        log:
            f"{RESULTS}/logs/prepare_similarity/4.log",
        benchmark:
            f"{RESULTS}/benchmarks/prepare_similarity/4.tsv"
        conda:
            "../envs/nearsight.yaml"
        threads: 1
        resources:
            mem_mb=growing(4000),
            runtime=growing(60),
        params:
            cells=describe_all([*STUDY.snapshot_names("train", "test"), *STUDY.supercells]),
            structures=named(STRUCTURE, [*LEARNED, *SHOWN, *STUDY.supercells]),
            plans=named(PLAN, [*LEARNED, *SHOWN, *STUDY.supercells]),
            settings=SETTINGS_TEXT,
            version=VERSIONS["figures"],
        shell:
            "python {input.module:q} --cells {params.cells:q} --structures {params.structures:q}"
            " --plans {params.plans:q} --model {input.bundle:q} --weights {input.weights:q}"
            " --settings {params.settings:q} --outputs {output:q} --log {log:q}"

    rule deposit_figures:
        """The paper's figures and their data, copied to docs/figures with a manifest of checksums."""
        input:
            module=script("deposit_figures"),
            data=[name for figure in TABLES for name in prepared(figure)],
            figures=[f"{PAPER}/figure-{figure}.{kind}" for figure in TABLES for kind in ("png", "pdf", "txt")],
        output:
            f"{DEPOSIT}/{MANIFEST}",
        log:
            f"{RESULTS}/logs/deposit_figures/data.log",
        benchmark:
            f"{RESULTS}/benchmarks/deposit_figures/data.tsv"
        localrule: True
        conda:
            "../envs/nearsight.yaml"
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        params:
            settings=SETTINGS_TEXT,
            version=VERSIONS["figures"],
        shell:
            "python {input.module:q} --data {input.data:q} --figures {input.figures:q} --settings {params.settings:q}"
            " --manifest {output:q} --log {log:q}"


rule draw_paper_figure:
    """One figure of the paper from its prepared data, and nothing else."""
    input:
        module=script("draw_paper_figure"),
        data=lambda wildcards: prepared(wildcards.number),
    output:
        png=report(
            f"{PAPER}/figure-{{number}}.png",
            caption="../report/paper/figure.rst",
            category="Figures of the paper",
            labels={"figure": "{number}", "structure": "all"},
        ),
        pdf=f"{PAPER}/figure-{{number}}.pdf",
        caption=f"{PAPER}/figure-{{number}}.txt",
    log:
        f"{PAPER}/logs/draw_paper_figure/{{number}}.log",
    benchmark:
        f"{PAPER}/benchmarks/draw_paper_figure/{{number}}.tsv"
    localrule: True
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        caption=lambda wildcards: caption_of(wildcards.number, SETTINGS),
        version=VERSIONS["figures"],
    shell:
        "python {input.module:q} --data {input.data:q} --png {output.png:q} --pdf {output.pdf:q}"
        " --caption {output.caption:q} --log {log:q}"
