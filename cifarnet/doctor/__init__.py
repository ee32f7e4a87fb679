"""``cifarnet doctor``: what the installation can use, what is missing, and whether it computes correctly."""
