"""Reference data: pseudopotential, DFT-MD, SCF and LDOS of the snapshots with Quantum ESPRESSO.

Memory and runtime suffice for some hundred atoms on one core; `--set-resources run_scf:mem_mb_per_cpu=N` replaces them.
"""


rule make_pseudopotential:
    """Pseudopotential of one element: made by ld1.x, or the user's own after a check of its sha256."""
    input:
        module=script("make_pseudopotential"),
        source=pseudopotential_source,
    output:
        f"{RESULTS}/pseudo/{{element}}.upf",
    log:
        f"{RESULTS}/logs/make_pseudopotential/{{element}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/make_pseudopotential/{{element}}.tsv"
    conda:
        "../envs/reference.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        source=pseudopotential_source_options,
        version=VERSIONS["reference"],
    shell:
        "python {input.module:q} --element {wildcards.element:q} {params.source:q} --output {output:q} --log {log:q}"


rule build_structure:
    """A cell, from a lattice or from a file, with the grid of all its fields."""
    input:
        source=structure_source,
        module=script("build_structure"),
    output:
        f"{RESULTS}/cells/{{cell}}.extxyz",
    log:
        f"{RESULTS}/logs/build_structure/{{cell}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/build_structure/{{cell}}.tsv"
    localrule: True
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        settings=lambda wildcards: STUDY.structures[wildcards.cell].to_json(),
        ecutrho_Ry=STUDY.dft.ecutrho_Ry,
        version=VERSIONS["structures"],
    shell:
        "python {input.module:q} --settings {params.settings:q} --ecutrho-Ry {params.ecutrho_Ry:q}"
        " --output {output:q} --log {log:q}"


rule start_dft_md:
    """Random velocities for one trajectory."""
    input:
        module=script("start_dft_md"),
        structure=trajectory_cell,
    output:
        f"{RESULTS}/md/{{trajectory}}/start.extxyz",
    log:
        f"{RESULTS}/logs/start_dft_md/{{trajectory}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/start_dft_md/{{trajectory}}.tsv"
    localrule: True
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        temperature_K=lambda wildcards: STUDY.trajectories[wildcards.trajectory].temperature_K,
        seed=lambda wildcards: STUDY.seed_of(wildcards.trajectory),
        version=VERSIONS["structures"],
    shell:
        "python {input.module:q} --structure {input.structure:q} --temperature-K {params.temperature_K:q}"
        " --seed {params.seed:q} --output {output:q} --log {log:q}"


rule run_dft_md:
    """One segment of a trajectory: Born-Oppenheimer MD with pw.x, from the end of the previous segment."""
    input:
        module=script("run_dft_md"),
        start=segment_start,
        pseudopotentials=PSEUDOPOTENTIALS,
    output:
        f"{RESULTS}/md/{{trajectory}}/segment-{{segment}}.extxyz",
    log:
        f"{RESULTS}/logs/run_dft_md/{{trajectory}}-{{segment}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/run_dft_md/{{trajectory}}-{{segment}}.tsv"
    conda:
        "../envs/reference.yaml"
    threads: STUDY.dft.ranks
    resources:
        **ESPRESSO_MPI,
        launcher=STUDY.dft.launcher,
        tasks=STUDY.dft.ranks,
        cpus_per_task=1,
        mem_mb_per_cpu=growing(4000),
        runtime=growing(480),
    params:
        pseudopotentials=PSEUDOPOTENTIAL_OPTIONS,
        settings=lambda wildcards: STUDY.md_of(STUDY.structure_of(wildcards.trajectory)).to_json("equilibration_fs"),
        temperature_K=lambda wildcards: STUDY.trajectories[wildcards.trajectory].temperature_K,
        version=VERSIONS["reference"],
    shell:
        "python {input.module:q} --start {input.start:q} {params.pseudopotentials:q} --settings {params.settings:q}"
        " --temperature-K {params.temperature_K:q} --launcher {resources.launcher:q} --ranks {resources.tasks}"
        " --output {output:q}"
        " --memory-MB {resources.mem_mb_per_cpu} --log {log:q}"


rule collect_dft_md:
    """One trajectory from its segments."""
    input:
        module=script("collect_dft_md"),
        segments=segment_files,
    output:
        f"{RESULTS}/md/{{trajectory}}.extxyz",
    log:
        f"{RESULTS}/logs/collect_dft_md/{{trajectory}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_dft_md/{{trajectory}}.tsv"
    localrule: True
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        version=VERSIONS["structures"],
    shell:
        "python {input.module:q} --segments {input.segments:q} --output {output:q} --log {log:q}"


# One rule per trajectory, because the number of snapshots differs between them.
for trajectory in DFT_MD:

    rule:
        """Snapshots of one trajectory: after the equilibration, as far apart as possible."""
        name:
            f"select_snapshots_{trajectory}"
        input:
            module=script("select_snapshots"),
            trajectory=f"{RESULTS}/md/{trajectory}.extxyz",
        output:
            snapshot_files(trajectory),
        log:
            f"{RESULTS}/logs/select_snapshots/{trajectory}.log",
        benchmark:
            f"{RESULTS}/benchmarks/select_snapshots/{trajectory}.tsv"
        localrule: True
        conda:
            "../envs/nearsight.yaml"
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        params:
            time_step_fs=STUDY.md.time_step_fs,
            equilibration_fs=STUDY.md.equilibration_fs,
            ecutrho_Ry=STUDY.dft.ecutrho_Ry,
            version=VERSIONS["structures"],
        shell:
            "python {input.module:q} --trajectory {input.trajectory:q} --time-step-fs {params.time_step_fs:q}"
            " --equilibration-fs {params.equilibration_fs:q} --ecutrho-Ry {params.ecutrho_Ry:q} --outputs {output:q} --log {log:q}"


for trajectory in FRAMES:

    rule:
        """Snapshots of one trajectory: frames from the user's file, in its order."""
        name:
            f"take_frames_{trajectory}"
        input:
            module=script("take_frames"),
            cell=cell_file(STUDY.structure_of(trajectory)),
            source=FRAMES[trajectory].path,
        output:
            snapshot_files(trajectory),
        log:
            f"{RESULTS}/logs/take_frames/{trajectory}.log",
        benchmark:
            f"{RESULTS}/benchmarks/take_frames/{trajectory}.tsv"
        localrule: True
        conda:
            "../envs/nearsight.yaml"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        params:
            frames=FRAMES[trajectory].file,
            ecutrho_Ry=STUDY.dft.ecutrho_Ry,
            version=VERSIONS["structures"],
        shell:
            "python {input.module:q} --frames {params.frames:q} --cell {input.cell:q}"
            " --ecutrho-Ry {params.ecutrho_Ry:q} --outputs {output:q} --memory-MB {resources.mem_mb} --log {log:q}"


rule run_lammps_md:
    """One snapshot: the end of a separate run with an interatomic potential."""
    input:
        module=script("run_lammps_md"),
        cell=lambda wildcards: cell_file(STUDY.snapshot_structure(wildcards.lammps_snapshot)),
    output:
        f"{RESULTS}/structures/{{lammps_snapshot}}.extxyz",
    log:
        f"{RESULTS}/logs/run_lammps_md/{{lammps_snapshot}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/run_lammps_md/{{lammps_snapshot}}.tsv"
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        settings=lambda wildcards: STUDY.trajectories[wildcards.lammps_snapshot.rpartition("-")[0]].to_json(
            "structure", "electron_temperature_K", "snapshots"
        ),
        ecutrho_Ry=STUDY.dft.ecutrho_Ry,
        seed=lambda wildcards: STUDY.seed_of(wildcards.lammps_snapshot),
        version=VERSIONS["structures"],
    shell:
        "python {input.module:q} --cell {input.cell:q} --settings {params.settings:q} --seed {params.seed:q}"
        " --ecutrho-Ry {params.ecutrho_Ry:q} --output {output:q} --memory-MB {resources.mem_mb} --log {log:q}"


rule take_snapshot:
    """An existing snapshot: its dataset, checked against the study, and its structure."""
    input:
        module=script("take_snapshot"),
        dataset=lambda wildcards: STUDY.snapshots[wildcards.imported].dataset,
        pseudopotentials=PSEUDOPOTENTIALS,
    output:
        dataset=f"{RESULTS}/reference/{{imported}}.h5",
        structure=f"{RESULTS}/structures/{{imported}}.extxyz",
    log:
        f"{RESULTS}/logs/take_snapshot/{{imported}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/take_snapshot/{{imported}}.tsv"
    localrule: True
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        pseudopotentials=PSEUDOPOTENTIAL_OPTIONS,
        settings=STUDY.dft.to_json("launcher", "ranks"),
        ldos=STUDY.ldos.to_json("work_MB"),
        version=VERSIONS["reference"],
    shell:
        "python {input.module:q} --dataset {input.dataset:q} {params.pseudopotentials:q} --settings {params.settings:q}"
        " --ldos {params.ldos:q} --output {output.dataset:q} --structure {output.structure:q} --log {log:q}"


rule run_scf:
    """Self-consistent field of one snapshot with pw.x."""
    input:
        module=script("run_scf"),
        structure=f"{RESULTS}/structures/{{snapshot}}.extxyz",
        pseudopotentials=PSEUDOPOTENTIALS,
    output:
        scratch=temp(directory(f"{RESULTS}/reference/{{snapshot}}/scf")),
        text=f"{RESULTS}/reference/{{snapshot}}/scf.out",
    log:
        f"{RESULTS}/logs/run_scf/{{snapshot}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/run_scf/{{snapshot}}.tsv"
    wildcard_constraints:
        snapshot=one_of(COMPUTED),
    conda:
        "../envs/reference.yaml"
    threads: STUDY.dft.ranks
    resources:
        **ESPRESSO_MPI,
        launcher=STUDY.dft.launcher,
        tasks=STUDY.dft.ranks,
        cpus_per_task=1,
        mem_mb_per_cpu=growing(4000),
        runtime=growing(480),
    params:
        pseudopotentials=PSEUDOPOTENTIAL_OPTIONS,
        settings=snapshot_dft,
        temperature_K=electron_temperature,
        version=VERSIONS["reference"],
    shell:
        "python {input.module:q} --structure {input.structure:q} {params.pseudopotentials:q}"
        " --settings {params.settings:q} --temperature-K {params.temperature_K:q}"
        " --launcher {resources.launcher:q} --ranks {resources.tasks}"
        " --memory-MB {resources.mem_mb_per_cpu} --outdir {output.scratch:q} --output-text {output.text:q} --log {log:q}"


# Only with the reference backend: otherwise collect_reference computes the LDOS from the SCF's own states.
if STUDY.ldos.backend == "espresso":

    rule run_ldos:
        """LDOS of one snapshot: a non-SCF run with Gaussian smearing, then pp.x."""
        input:
            module=script("run_ldos"),
            structure=f"{RESULTS}/structures/{{snapshot}}.extxyz",
            scratch=f"{RESULTS}/reference/{{snapshot}}/scf",
            pseudopotentials=PSEUDOPOTENTIALS,
        output:
            temp(directory(f"{RESULTS}/reference/{{snapshot}}/ldos")),
        log:
            f"{RESULTS}/logs/run_ldos/{{snapshot}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/run_ldos/{{snapshot}}.tsv"
        wildcard_constraints:
            snapshot=one_of(COMPUTED),
        conda:
            "../envs/reference.yaml"
        threads: STUDY.dft.ranks
        resources:
            **ESPRESSO_MPI,
            launcher=STUDY.dft.launcher,
            tasks=STUDY.dft.ranks,
            cpus_per_task=1,
            mem_mb_per_cpu=growing(4000),
            runtime=growing(480),
        params:
            pseudopotentials=PSEUDOPOTENTIAL_OPTIONS,
            settings=snapshot_dft,
            ldos=STUDY.ldos.to_json("work_MB"),
            version=VERSIONS["reference"],
        shell:
            "python {input.module:q} --structure {input.structure:q} {params.pseudopotentials:q}"
            " --scf {input.scratch:q} --settings {params.settings:q} --ldos {params.ldos:q}"
            " --launcher {resources.launcher:q} --ranks {resources.tasks} --output {output:q}"
            " --memory-MB {resources.mem_mb_per_cpu} --log {log:q}"


rule collect_reference:
    """Snapshot dataset: atoms, density, LDOS, Quantum ESPRESSO's energies and eigenvalues, checked and in one file."""
    input:
        module=script("collect_reference"),
        structure=f"{RESULTS}/structures/{{snapshot}}.extxyz",
        scratch=f"{RESULTS}/reference/{{snapshot}}/scf",
        text=f"{RESULTS}/reference/{{snapshot}}/scf.out",
        cubes=[f"{RESULTS}/reference/{{snapshot}}/ldos"] if STUDY.ldos.backend == "espresso" else [],
        pseudopotentials=PSEUDOPOTENTIALS,
    output:
        f"{RESULTS}/reference/{{snapshot}}.h5",
    log:
        f"{RESULTS}/logs/collect_reference/{{snapshot}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_reference/{{snapshot}}.tsv"
    wildcard_constraints:
        snapshot=one_of(COMPUTED),
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        # changes no result: a resource, so that a change reruns nothing
        work_MB=STUDY.ldos.work_MB,
    params:
        pseudopotentials=PSEUDOPOTENTIAL_OPTIONS,
        settings=snapshot_dft,
        ldos=STUDY.ldos.to_json("work_MB"),
        temperature_K=electron_temperature,
        cubes=lambda wildcards, input: ["--cubes", *input.cubes] if input.cubes else [],
        version=VERSIONS["reference"],
    shell:
        "python {input.module:q} --structure {input.structure:q} --scf {input.scratch:q} --scf-text {input.text:q}"
        " --settings {params.settings:q} --ldos {params.ldos:q} --temperature-K {params.temperature_K:q}"
        " {params.cubes:q} {params.pseudopotentials:q} --work-MB {resources.work_MB:q} --output {output:q}"
        " --memory-MB {resources.mem_mb} --log {log:q}"
