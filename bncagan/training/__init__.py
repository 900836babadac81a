"""Training: the loop, the losses, what a run writes and says."""
