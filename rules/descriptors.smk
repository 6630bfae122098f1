"""Descriptors of snapshots and of larger structures."""


rule build_supercell:
    """A larger structure: one snapshot, repeated, and displaced or with a stacking fault if the study says so."""
    input:
        module=script("build_supercell"),
        structure=lambda wildcards: f"{RESULTS}/structures/{STUDY.supercells[wildcards.supercell].snapshot}.extxyz",
    output:
        f"{RESULTS}/structures/{{supercell}}.extxyz",
    log:
        f"{RESULTS}/logs/build_supercell/{{supercell}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/build_supercell/{{supercell}}.tsv"
    localrule: True
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        settings=lambda wildcards: STUDY.supercells[wildcards.supercell].to_json("snapshot"),
        crystal=crystal_options,
        seed=lambda wildcards: STUDY.seed_of(wildcards.supercell),
        version=VERSIONS["structures"],
    shell:
        "python {input.module:q} --structure {input.structure:q} --settings {params.settings:q}"
        " {params.crystal:q} --seed {params.seed:q} --memory-MB {resources.mem_mb} --output {output:q} --log {log:q}"


rule compute_descriptors:
    """Descriptors of every grid point of one structure, on any number of MPI ranks."""
    input:
        module=script("compute_descriptors"),
        structure=f"{RESULTS}/structures/{{structure}}.extxyz",
    output:
        f"{RESULTS}/descriptors/{{structure}}.h5",
    log:
        f"{RESULTS}/logs/compute_descriptors/{{structure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/compute_descriptors/{{structure}}.tsv"
    conda:
        "../envs/nearsight.yaml"
    threads: STUDY.descriptors.ranks * STUDY.descriptors.threads
    resources:
        mpi="mpiexec",
        tasks=STUDY.descriptors.ranks,
        cpus_per_task=STUDY.descriptors.threads,
        mem_mb_per_cpu=growing(2000),
        runtime=growing(120),
    params:
        settings=STUDY.descriptors.to_json("ranks", "threads"),
        elements=sorted(STUDY.pseudopotentials),
        version=VERSIONS["descriptors"],
    shell:
        "{resources.mpi} -n {resources.tasks} python {input.module:q} --structure {input.structure:q}"
        " --settings {params.settings:q} --elements {params.elements:q}"
        " --ranks {resources.tasks} --threads {resources.cpus_per_task}"
        " --memory-MB {resources.mem_mb_per_cpu} --output {output:q} --log {log:q}"
