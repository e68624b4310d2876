"""KVCache: the K and V tensors of all layers, in blocks."""

import numpy
import torch


class KVCache:
    """Keys and values of every cached token.

    `keys[layer]` and `values[layer]` have shape (num_blocks, block_size, kv_heads, head_dim); token `i` of a sequence
    lies at slot `block_table[i // block_size] * block_size + i % block_size`.

    Args:
        shapes: (kv_heads, head_dim) of each layer.
    """

    def __init__(
        self,
        shapes: list[tuple[int, int]],
        num_blocks: int,
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        sizes = [(num_blocks, block_size, heads, dim) for heads, dim in shapes]
        self.keys = [_zeros(size, dtype, device) for size in sizes]
        self.values = [_zeros(size, dtype, device) for size in sizes]

    def write(self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store one step's `keys` and `values` (tokens, kv_heads, head_dim) at `slots` (tokens,)."""
        self.keys[layer].flatten(0, 1)[slots] = keys
        self.values[layer].flatten(0, 1)[slots] = values

    def read(self, layer: int, blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gather `blocks` (batch, n) as keys and values (batch, kv_heads, n * block_size, head_dim)."""
        return self._gather(self.keys[layer], blocks), self._gather(self.values[layer], blocks)

    def clear(self, blocks: list[int]) -> None:
        """Zero `blocks`: whoever gets them next multiplies their unwritten slots by 0, which must not be NaN."""
        for cache in (*self.keys, *self.values):
            cache[blocks] = 0

    def _gather(self, cache: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
        batch, count = blocks.shape
        rows = cache.index_select(0, blocks.flatten())  # (batch * n, block_size, kv_heads, head_dim)
        return rows.view(batch, count * self.block_size, *cache.shape[2:]).transpose(1, 2)


def bytes_per_token(shapes: list[tuple[int, int]], dtype: torch.dtype) -> int:
    """Bytes of K and V that one token takes in all layers."""
    return sum(2 * heads * dim for heads, dim in shapes) * dtype.itemsize


def _zeros(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros, because attention multiplies masked slots by 0, and 0 times an uninitialised NaN is NaN.

    On the CPU the pages come from the system already zero and cost memory only once they are written.
    """
    if device.type != "cpu":
        return torch.zeros(size, dtype=dtype, device=device)
    count = int(numpy.prod(size))
    raw = numpy.zeros(count * dtype.itemsize, dtype=numpy.uint8)
    return torch.from_numpy(raw).view(dtype).view(size)
