"""Hostile files: seeds of every kind that the project reads, mutations of them, and what reading one may do."""
