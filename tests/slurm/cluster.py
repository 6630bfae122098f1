"""A Slurm cluster of one node for the tests: Debian's munged, slurmctld and slurmd, with everything in one folder.

Nothing outside of that folder is read or written: own key, socket, ports, configuration, spool and logs. Programs are
told of it by wrappers in `bin`, because Snakemake's job step removes all SLURM_* variables, SLURM_CONF among them.
"""

import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
CLIENTS = ("srun", "sbatch", "squeue", "scancel", "scontrol", "sinfo")

CPUS = 4
MEMORY_MB = 24000

CONFIGURATION = """
ClusterName=nearsight
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MpiDefault=none
# no cgroups: they belong to the machine, not to a test
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,batch_sched_delay=1,bf_interval=2
AccountingStorageType=accounting_storage/none
# a job that takes more memory than it asked for is killed, within a second or two
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
# squeue tells the end of a job for so many seconds: the tests look back at all of them
MinJobAge=7200
# a job's number is the name of MPICH's shared memory, which a killed job leaves behind: never the same again
FirstJobId={first_job}
# seconds between SIGTERM and SIGKILL at the time limit
KillWait=5
ReturnToService=2
# more processors and memory than there may be: jobs of two ranks run side by side everywhere, if slowly
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes={host} MaxTime=60 State=UP
"""


def why_not() -> str | None:
    """Why no cluster can be started here; None where it can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]
    if missing:
        return (
            f"no {', '.join(missing)}: apt-get install --no-install-recommends slurm-wlm munge (tools/setup.sh tests)"
        )
    if os.geteuid() != 0:
        return "slurmd starts jobs as other users and needs root"
    return None


def search_path() -> str:
    """The PATH with the folders of daemons."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


class Cluster:
    """The daemons and what is asked of them.

    node_command: what starts slurmd, with the program as its last words, for a node that sees other disks than we do.
    """

    def __init__(self, folder: Path, node_command: Sequence[str] = ()) -> None:
        self.folder = folder
        self.node_command = node_command
        self.host = socket.gethostname().partition(".")[0]
        self.daemons: dict[str, subprocess.Popen] = {}

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a program that is to find this cluster."""
        return {**os.environ, "PATH": f"{self.folder / 'bin'}{os.pathsep}{search_path()}"}

    def start(self) -> None:
        """Write the configuration, start the daemons, wait until the node is idle."""
        for name in ("bin", "state", "spool"):
            (self.folder / name).mkdir()
        controller_port, node_port = _free_ports(2)
        text = CONFIGURATION.format(
            host=self.host,
            folder=self.folder,
            controller_port=controller_port,
            node_port=node_port,
            cpus=CPUS,
            memory=MEMORY_MB,
            first_job=1 + int.from_bytes(os.urandom(3)),
        )
        configuration = self.folder / "slurm.conf"
        configuration.write_text(text, encoding="utf-8")
        for name in CLIENTS:
            wrapper = self.folder / "bin" / name
            program = shutil.which(name, path=search_path())
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={configuration} exec {program} "$@"\n', encoding="utf-8")
            wrapper.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(stat.S_IRUSR)
        self._start_munged()
        self._start_daemon("slurmctld", "-D")
        wait_for(lambda: self._ask("scontrol", "ping").returncode == 0, 30, "slurmctld to answer", self.logs)
        self._start_daemon("slurmd", "-D")
        wait_for(lambda: self.node_state() == "IDLE", 30, "the node to be idle", self.logs)

    def stop(self) -> None:
        """End all jobs and daemons."""
        if "slurmctld" in self.daemons:
            self._ask("scancel", "--state=PENDING,RUNNING,SUSPENDED", "--user=root")
            self._ask("scancel", "--signal=KILL", "--state=RUNNING", "--user=root")
            deadline = time.monotonic() + 20
            while self._ask("squeue", "--noheader", "--states=R,CG").stdout.strip() and time.monotonic() < deadline:
                time.sleep(0.3)
        for name in reversed(list(self.daemons)):
            self.daemons[name].terminate()
            try:
                self.daemons[name].wait(15)
            except subprocess.TimeoutExpired:
                self.daemons[name].kill()
                self.daemons[name].wait()
        self.daemons.clear()

    def ask(self, *command: str) -> str:
        """Output of one of Slurm's commands; asserts that it succeeds."""
        done = self._ask(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def node_state(self) -> str:
        """State of the node: IDLE, MIXED, IDLE+DRAIN, ..."""
        text = self._ask("scontrol", "--oneliner", "show", "node", self.host).stdout
        return text.partition("State=")[2].partition(" ")[0]

    def jobs(self, states: str = "all") -> list[dict[str, str]]:
        """The jobs that the cluster knows, those of the last minutes included, by number."""
        columns = {"id": "%i", "state": "%T", "comment": "%k", "cpus": "%C", "memory": "%m", "limit": "%l",
                   "elapsed": "%M", "restarts": "%r", "partition": "%P"}  # fmt: skip
        output = self.ask("squeue", "--noheader", f"--states={states}", f"--format={'|'.join(columns.values())}")
        rows = [dict(zip(columns, line.split("|"), strict=True)) for line in output.splitlines()]
        return sorted(rows, key=lambda row: int(row["id"]))

    def logs(self) -> str:
        """The end of the daemons' logs."""
        return "\n".join(
            f"== {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-20:])
            for path in sorted(self.folder.glob("*.log"))
        )

    def _ask(self, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)

    def _start_munged(self) -> None:
        # --force: the folder's parents may be open to others, which is a warning then
        options = [
            f"--{key}={self.folder}/{name}"
            for key, name in [
                ("socket", "munge.socket"),
                ("key-file", "munge.key"),
                ("log-file", "munged.log"),
                ("pid-file", "munged.pid"),
                ("seed-file", "munged.seed"),
            ]
        ]
        self._start_daemon("munged", "--foreground", "--force", *options)
        wait_for((self.folder / "munge.socket").exists, 15, "munged's socket", self.logs)

    def _start_daemon(self, name: str, *options: str) -> None:
        prefix = self.node_command if name == "slurmd" else ()
        environment = {key: value for key, value in self.environment.items() if not key.startswith("SLURM_")}
        with open(self.folder / f"{name}.out.log", "wb") as output:
            self.daemons[name] = subprocess.Popen(
                [*prefix, shutil.which(name, path=search_path()), *options],
                env={**environment, "SLURM_CONF": str(self.folder / "slurm.conf")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt of the tests is for the fixture to handle
            )


def wait_for(
    condition: Callable[[], object], seconds: float, what: str, explain: Callable[[], str] = str, step: float = 0.1
) -> None:
    """Return when the condition holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}\n{explain()}"
        time.sleep(step)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
