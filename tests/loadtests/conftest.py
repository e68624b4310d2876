"""Tiny models gain nothing from more threads, and busy machines lose much."""

import torch

torch.set_num_threads(1)
