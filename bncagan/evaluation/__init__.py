"""Scores against references, and stress tests without references."""
