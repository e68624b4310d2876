"""BlockManager: which blocks of the KV cache are free, who holds them, and which prefixes they store."""

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b

from app.engine.core.sequence import Sequence


class BlockManager:
    """Gives blocks to sequences and shares the full blocks of equal prefixes.

    A block whose count of holders falls to zero becomes free but keeps its contents, and its hash, until it is
    given out again: least recently freed first. Hashes chain over the whole prefix (and the request's salt) with a
    cryptographic digest, so that nobody can aim at somebody else's block.

    Args:
        num_blocks: blocks in the KV cache.
        block_size: tokens in a block.
        share: whether equal prefixes share blocks.
    """

    def __init__(self, num_blocks: int, block_size: int, share: bool = True) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._share = share
        self.clear()

    def clear(self) -> None:
        """Forget everything: no block is held, and none stores a prefix."""
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(self.num_blocks))
        self._holders = [0] * self.num_blocks
        self._block_of: dict[bytes, int] = {}
        self._hash_of: dict[int, bytes] = {}
        self._computing: dict[bytes, int] = {}  # hash of a prompt block to the block that will store it
        self._announced: dict[int, bytes] = {}

    @property
    def num_free(self) -> int:
        """Blocks that no sequence holds."""
        return len(self._free)

    @property
    def num_used(self) -> int:
        """Blocks that sequences hold."""
        return self.num_blocks - len(self._free)

    def match_prefix(self, sequence: Sequence) -> int:
        """Take the cached blocks of the sequence's prompt; return the tokens they cover.

        At least the prompt's last token is left to compute, since its logits are wanted. The sequence must hold
        no blocks yet.
        """
        if not self._share:
            return 0
        assert not sequence.block_table
        limit = (sequence.prompt_length - 1) // self.block_size
        for index in range(limit):
            block = self._block_of.get(self._hash(sequence, index))
            if block is None:
                break
            self._hold(block)
            sequence.block_table.append(block)
        return len(sequence.block_table) * self.block_size

    def blocks_needed(self, sequence: Sequence, length: int) -> int:
        """How many more blocks the sequence needs to store its first `length` tokens."""
        return max(0, -(-length // self.block_size) - len(sequence.block_table))

    def allocate(self, sequence: Sequence, length: int) -> bool:
        """Extend the block table to `length` tokens; False, with nothing changed, when too few blocks are free."""
        needed = self.blocks_needed(sequence, length)
        if needed > len(self._free):
            return False
        for _ in range(needed):
            block = next(iter(self._free))
            self._forget(block)
            self._hold(block)
            sequence.block_table.append(block)
            self._announce(sequence, len(sequence.block_table) - 1)
        return True

    def is_being_computed(self, sequence: Sequence) -> bool:
        """Whether a running sequence is about to publish the block that this one would compute next."""
        index = len(sequence.block_table)
        if not self._share or index >= (sequence.prompt_length - 1) // self.block_size:
            return False
        return self._hash(sequence, index) in self._computing

    def publish(self, sequence: Sequence, start: int = 0) -> None:
        """Make the full blocks that the sequence computed since token `start` available to others.

        A decision publishes its prompt only: behind it stand branches, which are no prefix of anything.
        """
        if not self._share:
            return
        length = min(sequence.num_computed, sequence.prompt_length if sequence.tree else len(sequence.tokens))
        for index in range(start // self.block_size, length // self.block_size):
            block = sequence.block_table[index]
            digest = self._hash(sequence, index)
            self._retract(block)
            if block not in self._hash_of and digest not in self._block_of:
                self._hash_of[block] = digest
                self._block_of[digest] = block

    def free(self, sequence: Sequence) -> None:
        """Give back all blocks of the sequence, the last first: the start of a prefix is the most useful to keep."""
        for block in reversed(sequence.block_table):
            self._holders[block] -= 1
            self._retract(block)
            if not self._holders[block]:
                self._free[block] = None
        sequence.block_table = []

    def shrink(self, sequence: Sequence, length: int) -> None:
        """Give back the blocks that the sequence needs no more to store its first `length` tokens.

        They were held for tokens that did not come; what they stored before is lost, so they are the next to be given
        out.
        """
        while len(sequence.block_table) * self.block_size >= length + self.block_size:
            block = sequence.block_table.pop()
            self._holders[block] -= 1
            if not self._holders[block]:
                self._free[block] = None
                self._free.move_to_end(block, last=False)

    def discard(self, sequence: Sequence) -> list[int]:
        """Forget what the blocks that the sequence holds alone store; return them, so that they can be cleared."""
        own = [block for block in sequence.block_table if self._holders[block] == 1]
        for block in own:
            self._forget(block)
        return own

    def check_invariants(self, sequences: Iterable[Sequence]) -> None:
        """Raise AssertionError unless counts, free list and hashes agree with the sequences' block tables.

        Without sequences, which is how an idle engine asks, 4,096 blocks cost half a millisecond.
        """
        holders = [0] * self.num_blocks
        for sequence in sequences:
            require(len(set(sequence.block_table)) == len(sequence.block_table), "a block twice in one table")
            for block in sequence.block_table:
                holders[block] += 1
        require(holders == self._holders, "reference counts differ from the block tables")
        unheld = {block for block, count in enumerate(holders) if not count}
        require(self._free.keys() == unheld, "the free list is wrong")
        require(self._hash_of == _inverse(self._block_of), "hashes disagree")
        require(self._announced == _inverse(self._computing), "announced blocks disagree")
        require(self._announced.keys().isdisjoint(unheld), "a block is announced and nobody computes it")

    def _hold(self, block: int) -> None:
        if not self._holders[block]:
            del self._free[block]
        self._holders[block] += 1

    def _announce(self, sequence: Sequence, index: int) -> None:
        if self._share and (index + 1) * self.block_size <= sequence.prompt_length:
            digest = self._hash(sequence, index)
            if digest not in self._computing:
                self._computing[digest] = sequence.block_table[index]
                self._announced[sequence.block_table[index]] = digest

    def _retract(self, block: int) -> None:
        digest = self._announced.pop(block, None)
        if digest is not None:
            del self._computing[digest]

    def _forget(self, block: int) -> None:
        digest = self._hash_of.pop(block, None)
        if digest is not None:
            del self._block_of[digest]

    def _hash(self, sequence: Sequence, index: int) -> bytes:
        """Digest of the sequence's tokens up to the end of block `index`, computed once a block."""
        hashes = sequence.block_hashes
        while len(hashes) <= index:
            start = len(hashes) * self.block_size
            block = sequence.tokens[start : start + self.block_size]
            parent = hashes[-1] if hashes else sequence.request.cache_salt.encode()
            data = b",".join(str(token).encode() for token in block)
            hashes.append(blake2b(parent + b"|" + data, digest_size=16).digest())
        return hashes[index]


def require(holds: bool, otherwise: str) -> None:
    """An assertion that `python -O` keeps.

    Raises:
        AssertionError: it does not hold.
    """
    if not holds:
        raise AssertionError(otherwise)


def _inverse(block_of: dict[bytes, int]) -> dict[int, bytes]:
    return {block: digest for digest, block in block_of.items()}
