"""Scores against references, and what an enhancer must not do."""
