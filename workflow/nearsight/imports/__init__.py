"""Data of others' programs as datasets of ours: checked against all that a study takes for granted."""
