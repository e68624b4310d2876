"""Deterministic simulation of the engine: the real steps on a virtual clock and model, with injected faults."""
