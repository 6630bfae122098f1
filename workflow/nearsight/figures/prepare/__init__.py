"""From results to the numbers that the paper's figures are drawn from: tables and records, no pictures."""
