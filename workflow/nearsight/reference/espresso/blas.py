"""The BLAS kernels of Quantum ESPRESSO's programs: on a processor that it does not know, OpenBLAS uses old ones.

Debian 12's OpenBLAS 0.3.21 falls back to SSE3 on newer processors with AVX-512: the same energy to all digits in twice
the time (docs/performance.md). With OPENBLAS_VERBOSE=2 it prints its choice; OPENBLAS_CORETYPE overrides it.
"""

import logging
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

logger = logging.getLogger("nearsight")

#: OpenBLAS's names of kernels that are of older instruction sets than AVX2 (0: SSE, 1: AVX), and of AVX2 (2). All
#: others, of processors yet to come, are taken for the best.
LEVELS = dict.fromkeys(("Generic", "Katmai", "Coppermine", "Northwood", "Prescott", "Banias", "Core2", "Penryn"), 0)
LEVELS |= dict.fromkeys(("Dunnington", "Nehalem", "Atom", "Nano", "Athlon", "Opteron", "Opteron_SSE3", "Barcelona"), 0)
LEVELS |= dict.fromkeys(("Bobcat", "Sandybridge", "Bulldozer", "Piledriver", "Steamroller"), 1)
LEVELS |= dict.fromkeys(("Haswell", "Zen", "Excavator"), 2)

#: Level, kernel, and flags of the processor, all of which the kernel's instructions need; best first.
KERNELS = (
    (3, "SkylakeX", {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"}),
    (2, "Haswell", {"avx2", "fma"}),
)

#: Loads a library and ends.
LOAD = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"


def blas_environment(program: str) -> dict[str, str]:
    """OPENBLAS_CORETYPE for a program, where its OpenBLAS has chosen worse kernels than the processor can run.

    Nothing where the user has set the variable, or the program has no shared OpenBLAS. Cheap: once per job, 0.2 s.
    """
    found = shutil.which(program)
    if found is None or "OPENBLAS_CORETYPE" in os.environ:
        return {}
    return dict(_choose(found))


def describe_kernels(program: str) -> str:
    """The kernels that a program takes when we start it, to quote with its time; whether the processor can do better.

    A ratio to a program with old kernels is not an honest one.
    """
    found = shutil.which(program)
    kernel = chosen_kernel(found, blas_environment(program).get("OPENBLAS_CORETYPE")) if found else None
    if kernel is None:
        return "BLAS kernels unknown"
    better = better_kernel(kernel, processor_flags())
    return f"BLAS kernels {kernel}" + (f", though the processor can run {better}" if better else "")


@cache
def _choose(program: str) -> tuple[tuple[str, str], ...]:
    """The variable to set, after a look at the library and the processor; what is found goes to the log."""
    name = Path(program).name
    chosen = chosen_kernel(program)
    if chosen is None:
        logger.info("%s: no OpenBLAS that could be asked for its kernels", name)
        return ()
    better = better_kernel(chosen, processor_flags())
    if better is None or chosen_kernel(program, better) != better:
        logger.info("%s: OpenBLAS's kernels are %s", name, chosen)
        return ()
    logger.info(
        "%s: OpenBLAS's kernels would be %s, the processor can run %s: OPENBLAS_CORETYPE=%s is set", name, chosen,
        better, better,
    )  # fmt: skip
    return (("OPENBLAS_CORETYPE", better),)


def better_kernel(chosen: str, flags: set[str]) -> str | None:
    """The best kernel that a processor with these flags can run; None where it is not better than the chosen one."""
    for level, kernel, needed in KERNELS:
        if needed <= flags:
            return kernel if LEVELS.get(chosen, 9) < level else None
    return None


def chosen_kernel(program: str, wanted: str | None = None) -> str | None:
    """The kernels that a program's OpenBLAS chooses, by its own name; None where the program has no shared OpenBLAS.

    wanted: value of OPENBLAS_CORETYPE.
    """
    libraries = _output(["ldd", program])
    match = re.search(r"=> (\S*lib(?:openblas|blas)\S*)", libraries)
    if match is None:
        return None
    environment = {"OPENBLAS_VERBOSE": "2"} | ({"OPENBLAS_CORETYPE": wanted} if wanted else {})
    cores = re.findall(r"^Core: (\w+)", _output([sys.executable, "-c", LOAD, match[1]], environment), re.MULTILINE)
    return cores[-1] if cores else None


def processor_flags() -> set[str]:
    """The instruction sets of the processor by Linux's names; none elsewhere and on other architectures."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    match = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(match[1].split()) if match else set()


def _output(command: list[str], environment: dict[str, str] | None = None) -> str:
    """What a command prints on both streams; nothing where it cannot be run."""
    try:
        done = subprocess.run(
            command, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
