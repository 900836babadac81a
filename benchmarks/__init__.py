"""Latency of artifacts on any machine: `runtimes` and their backends are all it needs."""
