"""The figures of the paper, one module each, drawn from the tables and records of `nearsight.figures.tables` alone."""
