"""How long pw.x took, from the text that it prints."""

import re
from dataclasses import dataclass
from pathlib import Path

from nearsight.errors import InputError
from nearsight.files import read_regular

#: Bytes of the longest output that is read: some kilobytes per iteration and k-point.
LARGEST_TEXT = 256 << 20

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = r"((?:\s*[\d.]+\s*[dhms])+)"


@dataclass(frozen=True)
class RunTime:
    """Processor time in s of all ranks, and what it was spent on."""

    cpu_s: float
    ranks: int
    atoms: int
    kpoints: int
    iterations: int


def read_run_time(path: Path) -> RunTime:
    """The time of an SCF run from pw.x's text. Raises InputError where the run did not finish."""
    text = read_regular(path, "pw.x's output", "Run the SCF again.", LARGEST_TEXT).decode("utf-8", "replace")
    # Quantum ESPRESSO prints 1h 2m, 3m 5.05s or 12.34s, of the first rank
    found = {
        "time": re.search(rf"^\s*PWSCF\s*:{_DURATION}\s*CPU", text, re.MULTILINE),
        "atoms": re.search(r"number of atoms/cell\s*=\s*(\d+)", text),
        "k-points": re.search(r"number of k points=\s*(\d+)", text),
        "iterations": re.search(r"convergence has been achieved in\s*(\d+) iterations", text),
    }
    if missing := [name for name, match in found.items() if match is None]:
        raise InputError(
            f"{path}: expected the output of an SCF run of pw.x that converged, found no {', '.join(missing)}. "
            "Run the SCF again."
        )
    ranks = re.search(r"Parallel version \(MPI.*?\), running on\s*(\d+) processor", text)
    count = int(ranks[1]) if ranks else 1
    seconds = sum(
        float(number) * _SECONDS[unit] for number, unit in re.findall(r"([\d.]+)\s*([dhms])", found["time"][1])
    )
    return RunTime(
        cpu_s=count * seconds,
        ranks=count,
        atoms=int(found["atoms"][1]),
        kpoints=int(found["k-points"][1]),
        iterations=int(found["iterations"][1]),
    )
