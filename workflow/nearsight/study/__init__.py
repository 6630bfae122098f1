"""The study file: the only settings of a study, their checks and their documentation."""
