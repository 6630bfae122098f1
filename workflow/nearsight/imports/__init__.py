"""Results of other programs as datasets of ours, checked against all that a study takes for granted."""
