"""Starting Quantum ESPRESSO: what is missing, what fails and what was promised is said clearly."""

import os
import signal
import sys

import pytest

from nearsight.errors import ConvergenceError, InputError, MissingProgramError, Stopped
from nearsight.jobs import make_parser, run_job
from nearsight.reference.espresso import programs
from nearsight.reference.espresso.outputs import check_convergence
from nearsight.reference.espresso.programs import (
    Launch,
    ProgramError,
    choose_pools,
    count_kpoints,
    ranks_of,
    run_program,
    version_of,
)
from nearsight.reference.espresso.workspace import scratch_folder, whole_folder

HEADER = "     Program PWSCF v.6.7MaX starts on 23Nov2026 at  1:43:25\n"
DONE = "   JOB DONE.\n"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a fake program that prints the given text, and nothing else on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(name, text, status=0, crash=None):
        path = folder / name
        path.write_text(
            f"#!{sys.executable}\nimport pathlib, sys\nprint({text!r})\nprint('arguments', sys.argv[1:])\n"
            + (f"pathlib.Path('CRASH').write_text({crash!r})\n" if crash else "")
            + f"sys.exit({status})\n"
        )
        path.chmod(0o755)

    return make


def ranks_line(n):
    return f"     Parallel version (MPI), running on     {n} processors\n"


def test_missing_program_names_both_installers(install, tmp_path):
    with pytest.raises(
        MissingProgramError, match=r"pw\.x.*apt-get install quantum-espresso.*conda install -c conda-forge qe"
    ):
        run_program("pw.x", "", tmp_path, Launch(), "scf")


def test_missing_launcher_names_its_package(install, tmp_path):
    install("pw.x", HEADER + DONE)
    with pytest.raises(MissingProgramError, match=r"mpirun\.openmpi.*apt-get install openmpi-bin.*dft\.launcher"):
        run_program("pw.x", "", tmp_path, Launch("mpirun.openmpi --bind-to none", 2), "scf")


def test_several_ranks_need_a_launcher(install):
    install("pw.x", "")
    with pytest.raises(InputError, match="expected a launcher for 2 ranks"):
        Launch("", 2).command("pw.x")


def test_one_rank_needs_no_launcher(install):
    install("pw.x", "")
    assert Launch("srun --mpi=pmix", 1).command("pw.x") == ["pw.x"]


@pytest.fixture
def print_environment(install, tmp_path):
    """A program that prints its environment."""
    path = tmp_path / "bin" / "pw.x"
    path.write_text(f"#!{sys.executable}\nimport os\nprint(dict(os.environ), {DONE!r})\n")
    path.chmod(0o755)


def test_one_rank_does_not_see_the_cluster(print_environment, tmp_path, monkeypatch):
    """Debian's ld1.x stops with "OPAL ERROR: Unreachable" in a job step of Slurm without PMIx."""
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("PMI_RANK", "0")
    text = run_program("pw.x", "", tmp_path, Launch(), "scf")
    assert "SLURM_" not in text
    assert "PMI_" not in text


def test_one_thread_per_rank(print_environment, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert "'OMP_NUM_THREADS': '1'" in run_program("pw.x", "", tmp_path, Launch(), "scf")


def test_ranks_must_be_positive():
    with pytest.raises(InputError, match="at least 1, got 0"):
        Launch("", 0).command("pw.x")


@pytest.mark.parametrize(
    ("text", "ranks"),
    [
        (ranks_line(4), 4),
        (
            "     Parallel version (MPI & OpenMP), running on      16 processor cores\n"
            "     Number of MPI processes:                 8\n     Threads/MPI process:                     2\n",
            8,
        ),
        ("     Parallel version (MPI), running on     2 processor cores\n", 2),
        ("     Serial version\n", 1),
        ("     Serial multi-threaded version, running on      4 processor cores\n", 4),
        ("nothing", None),
        (f"     Parallel version (MPI), running on     {'1' * 5000} processors\n", None),
        (f"     Number of MPI processes:      {'1' * 5000}\n", None),
    ],
)
def test_ranks_are_read_from_all_versions(text, ranks):
    assert ranks_of(text) == ranks


@pytest.mark.parametrize(
    ("kpoints", "shift", "count"),
    [
        # pw.x 6.7 with nosym: "number of k points="
        ([2, 2, 3], [1, 1, 1], 6),
        ([2, 2, 2], [0, 0, 0], 8),
        ([8, 8, 8], [0, 0, 0], 260),
        ([3, 3, 1], [0, 0, 0], 5),
        ([1, 1, 1], [0, 0, 0], 1),
    ],
)
def test_kpoints_without_symmetry(kpoints, shift, count):
    assert count_kpoints(kpoints, shift) == count


@pytest.mark.parametrize(
    ("ranks", "kpoints", "pools"),
    [(1, 6, 1), (2, 6, 2), (4, 6, 2), (6, 6, 6), (8, 6, 2), (16, 260, 16), (4, 1, 1), (2, 5, 2)],
)
def test_pools_keep_all_ranks_busy(ranks, kpoints, pools):
    assert choose_pools(ranks, kpoints) == pools


def test_pools_are_asked_for(install, tmp_path):
    install("launch", HEADER + ranks_line(2) + DONE)
    install("pw.x", "")
    text = run_program("pw.x", "", tmp_path, Launch("launch", 2).in_pools([2, 2, 3], [1, 1, 1]), "scf")
    assert "['-n', '2', 'pw.x', '-nk', '2', '-in', 'scf.in']" in text


def test_fewer_ranks_than_promised(install, tmp_path):
    install("launch", HEADER + ranks_line(1) + DONE)
    install("pw.x", "")
    with pytest.raises(InputError, match="expected 2 MPI ranks, as promised, got 1 with the launcher 'launch'"):
        run_program("pw.x", "", tmp_path, Launch("launch", 2), "scf")


def test_the_launcher_is_split_but_never_read_by_a_shell(install, tmp_path):
    install("launch", HEADER + ranks_line(2) + DONE)
    install("pw.x", "")
    folder = tmp_path / "a b; touch $HOME & 'x'"
    folder.mkdir()
    text = run_program("pw.x", "&control\n/\n", folder, Launch("launch '--a b' $HOME", 2), "scf")
    assert "arguments ['--a b', '$HOME', '-n', '2', 'pw.x', '-in', 'scf.in']" in text
    assert (folder / "scf.in").read_text() == "&control\n/\n"


@pytest.mark.parametrize("root", [True, False])
def test_root_is_allowed_only_where_it_is_root_and_open_mpi(install, monkeypatch, root):
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    install("pw.x", "")
    install("mpirun.openmpi", "")
    install("mpirun", "mpirun (Open MPI) 4.1.4")
    install("mpiexec", "HYDRA build details:")
    install("srun", "")
    flag = "--allow-run-as-root"
    assert (flag in Launch("mpirun.openmpi", 2).command("pw.x")) is root
    assert (flag in Launch("mpirun", 2).command("pw.x")) is root
    assert flag not in Launch("mpiexec", 2).command("pw.x")
    assert flag not in Launch("srun --mpi=pmix", 2).command("pw.x")
    assert Launch("mpirun.openmpi " + flag, 2).command("pw.x").count(flag) == 1


def test_the_message_of_the_crash_file_is_in_the_error(install, tmp_path):
    rule = "%" * 60
    install(
        "pw.x",
        HEADER,
        status=1,
        crash=f"\n {rule}\n     task #         0\n     from electrons : error #         1\n"
        f"     charge is wrong: smearing is needed\n {rule}\n",
    )
    with pytest.raises(ProgramError, match=r"exit status 1.*charge is wrong: smearing is needed"):
        run_program("pw.x", "", tmp_path, Launch(), "scf")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("launcher", [False, True])
def test_a_program_that_was_told_to_stop_is_no_failure(install, tmp_path, capsys, number, status, launcher):
    """A signal to the whole group may end pw.x, or its launcher, before the job hears of it."""
    ending = f"import os; os.kill(os.getpid(), {int(number)})"
    for name in ("pw.x", "launch"):
        install(name, HEADER + (ranks_line(2) if launcher else ""))
        with open(tmp_path / "bin" / name, "r+") as program:
            lines = program.read().replace("sys.exit(0)", f"import signal; signal.signal({int(number)}, 0); {ending}")
            program.seek(0)
            program.write(lines)
    arguments = make_parser("").parse_args([])
    with pytest.raises(SystemExit) as ended, scratch_folder(tmp_path / "scf") as folder:
        run_job(lambda _: run_program("pw.x", "", folder, Launch("launch", 2 if launcher else 1), "scf"), arguments)
    assert ended.value.code == status
    assert f"stopped from outside ({number.name}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "words", "number"),
    [
        # as mpirun of Open MPI 4.1, srun, and mpiexec of MPICH (Hydra) say it, tried with ranks that end themselves
        (143, "", 15),
        (130, "", 2),
        (15, "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Terminated (signal 15)", 15),
        (2, "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Interrupt (signal 2)", 2),
        (1, "mpirun noticed that process rank 0 with PID 0 on node vm exited on signal 15 (Terminated).", 15),
    ],
)
def test_how_launchers_say_that_ranks_were_told_to_stop(install, tmp_path, status, words, number):
    install("launch", HEADER + ranks_line(2) + words, status=status)
    install("pw.x", "")
    with pytest.raises(Stopped) as stopped:
        run_program("pw.x", "", tmp_path, Launch("launch", 2), "scf")
    assert stopped.value.number == number


def test_a_crash_is_told_though_the_launcher_ended_the_other_ranks(install, tmp_path):
    rule = "%" * 60
    install("launch", HEADER + ranks_line(2), status=143, crash=f"{rule}\n from electrons : no charge\n{rule}\n")
    install("pw.x", "")
    with pytest.raises(ProgramError, match="no charge"):
        run_program("pw.x", "", tmp_path, Launch("launch", 2), "scf")


def test_a_segmentation_fault_is_a_failure(install, tmp_path):
    install("launch", ranks_line(2) + "EXIT STRING: Segmentation fault (signal 11)", status=11)
    install("pw.x", "")
    with pytest.raises(ProgramError, match="exit status 11"):
        run_program("pw.x", "", tmp_path, Launch("launch", 2), "scf")


def test_a_launcher_that_stops_without_a_word_is_judged_after_the_jobs_own_signal(
    install, tmp_path, monkeypatch, capsys
):
    """Open MPI's mpirun exits with 1 when it is told to stop; the job itself hears of it a little later."""
    install("launch", HEADER + ranks_line(2), status=1)
    install("pw.x", "")
    monkeypatch.setattr(programs.time, "sleep", lambda seconds: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        run_job(lambda _: run_program("pw.x", "", tmp_path, Launch("launch", 2), "scf"), make_parser("").parse_args([]))
    assert ended.value.code == 143
    assert "stopped from outside (SIGTERM" in capsys.readouterr().err


def test_a_run_without_its_last_line_is_an_error(install, tmp_path):
    install("pw.x", HEADER)
    with pytest.raises(ProgramError, match="JOB DONE"):
        run_program("pw.x", "", tmp_path, Launch(), "scf")


def test_an_explanation_comes_before_the_exit_status(install, tmp_path):
    install(
        "pw.x",
        HEADER + "     estimated scf accuracy    <       0.00003723 Ry\n"
        "     convergence NOT achieved after   3 iterations: stopping\n",
        status=2,
    )
    with pytest.raises(ConvergenceError, match=r"dft\.conv_thr_Ry = 1e-09.*electron_maxstep = 3.*reached 0\.00003723"):
        run_program("pw.x", "", tmp_path, Launch(), "scf", explain=lambda text: check_convergence(text, "dft", 1e-9, 3))


def test_version():
    assert version_of(HEADER) == "6.7MaX"
    assert version_of("Program PWSCF v.7.2 starts on") == "7.2"
    assert version_of("") == "unknown"


def test_folders_appear_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a 'folder'"
    with pytest.raises(RuntimeError), whole_folder(target) as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    for content in ("first", "second"):
        with whole_folder(target) as folder:
            (folder / content).touch()
        assert [path.name for path in target.iterdir()] == [content]
    with scratch_folder(target) as scratch:
        assert scratch.parent == target.parent
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
