"""One version per stage of the pipeline.

A rule passes its stage's version as a param: raise the number when the stage's *results* change, and
Snakemake reruns that stage and what follows, and no more. This module imports nothing, because every
job parses it again.
"""

STAGES = {
    "structures": 1,
    "reference": 2,
    "descriptors": 3,
    "training": 7,
    "inference": 6,
    "energies": 3,
    "figures": 1,
}
