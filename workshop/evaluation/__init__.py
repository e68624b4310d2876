"""Measures a model folder against the targets of its card."""
