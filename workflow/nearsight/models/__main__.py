"""Put a trained model into the package: python -m nearsight.models results/STUDY/model NAME --licence SPDX."""

import argparse
import sys
from pathlib import Path

from nearsight.errors import NearsightError
from nearsight.models.shelf import ship_model


def main(argv: list[str] | None = None) -> int:
    """Copy the model with its card; an error is printed as its message."""
    parser = argparse.ArgumentParser(prog="python -m nearsight.models", description=__doc__)
    parser.add_argument("source", type=Path, help="folder with model.json, model.safetensors and card.json")
    parser.add_argument("name", help="name of the model, such as Be")
    parser.add_argument("--licence", required=True, help="licence of the model, as SPDX has it, such as BSD-3-Clause")
    arguments = parser.parse_args(argv)
    try:
        print(ship_model(arguments.source, arguments.name, arguments.licence))
    except NearsightError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
