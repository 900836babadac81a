"""Photographs for training: folders, samples, renderings."""
