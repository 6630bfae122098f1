"""Make the pseudopotential of one element: with QE's ld1.x from an input deck, or from a given UPF file."""

import argparse
import logging
from pathlib import Path

from nearsight.errors import InputError
from nearsight.jobs import make_parser, run_job
from nearsight.reference.pseudopotential import generate_pseudopotential, install_pseudopotential

logger = logging.getLogger("nearsight")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job."""
    parser = make_parser(__doc__)
    parser.add_argument("--element", required=True, help="chemical symbol")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--ld1-input", type=Path, help="input deck of ld1.x")
    source.add_argument("--upf", type=Path, help="a UPF file to be used as it is; needs --sha256")
    parser.add_argument("--sha256", help="SHA-256 of the UPF file, as hexadecimal text")
    parser.add_argument("--output", type=Path, required=True, help="pseudopotential (UPF)")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Write the pseudopotential after checking that it is the element's and, if given, the very file meant."""
    if arguments.ld1_input is not None:
        header = generate_pseudopotential(arguments.ld1_input, arguments.element, arguments.output)
    elif arguments.sha256 is None:
        raise InputError(
            f"pseudopotentials.{arguments.element}.sha256: expected the SHA-256 of {arguments.upf}, found none. "
            f"`sha256sum` prints it."
        )
    else:
        header = install_pseudopotential(arguments.upf, arguments.sha256, arguments.element, arguments.output)
    logger.info("%s: %g valence electrons", header.element, header.valence)


if __name__ == "__main__":
    run_job(main, parse_arguments())
