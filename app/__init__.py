"""Repartee: streaming chat and typed decisions from one quantized causal LM, at low latency."""

__version__ = "0.1.0"
