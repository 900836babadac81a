"""Folders for a user's device: the model, its self-test, and what installs and runs them there."""
