"""Measurement of latency on any machine; it needs `runtimes` and the backends of the artifacts only."""
