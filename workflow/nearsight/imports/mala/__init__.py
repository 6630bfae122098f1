"""Models and data of MALA (Materials Learning Algorithms) as ours; nothing of theirs is ever run."""
