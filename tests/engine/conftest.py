"""The engine's tests compute on one thread: tiny models gain nothing from more, and busy machines lose much."""

import torch

torch.set_num_threads(1)
