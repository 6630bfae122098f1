"""Models that come inside the package, by name.

Each is a folder NAME here: the two files of its bundle, its card for programs (card.json) and for people (card.md).
"""

from nearsight.models.shelf import LARGEST_BYTES, find_model, model_names, read_model_card, ship_model

__all__ = ["LARGEST_BYTES", "find_model", "model_names", "read_model_card", "ship_model"]
