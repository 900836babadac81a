"""INT8: which convolutions, over which ranges, and how a graph says so."""
