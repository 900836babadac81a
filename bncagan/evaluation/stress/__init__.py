"""Stress tests of an enhancer without references: what it must not do to pictures, each with a limit."""
