"""Reference data from DFT: what a DFT code hands over, and how it is made."""
