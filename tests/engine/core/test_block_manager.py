"""BlockManager: counts, free list and hashes agree after any operations; equal prefixes share, unequal salts do not."""

import subprocess
import sys
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from app.engine.core.block_manager import BlockManager
from app.engine.core.sequence import Sequence
from app.engine.messages import AddRequest

BLOCK = 2
BLOCKS = 8


def sequence(prompt: list[int], salt: str = "", labels: list[list[int]] | None = None) -> Sequence:
    return Sequence.of(AddRequest(id=1, prompt=prompt, cache_salt=salt, labels=labels or []), now=0.0)


def computed(blocks: BlockManager, prompt: list[int], salt: str = "") -> Sequence:
    """A sequence whose whole prompt is computed and published."""
    item = sequence(prompt, salt)
    item.num_computed = blocks.match_prefix(item)
    start = item.num_computed
    assert blocks.allocate(item, len(prompt))
    item.num_computed = len(prompt)
    blocks.publish(item, start)
    return item


class BlockOperations(RuleBasedStateMachine):
    """Sequences over few tokens, so that prefixes meet, in a cache that is soon full."""

    live = Bundle("live")

    def __init__(self) -> None:
        super().__init__()
        self.blocks = BlockManager(BLOCKS, BLOCK)
        self.held: list[Sequence] = []

    @rule(
        target=live,
        prompt=st.lists(st.integers(0, 1), min_size=1, max_size=12),
        salt=st.sampled_from(["", "a"]),
        decision=st.booleans(),
    )
    def arrive(self, prompt: list[int], salt: str, decision: bool) -> Sequence:
        item = sequence(prompt, salt, [[0, 1], [1, 1, 0]] if decision else None)
        item.num_computed = self.blocks.match_prefix(item)
        assert item.num_computed % BLOCK == 0 and item.num_computed < len(prompt)
        self.held.append(item)
        return item

    @rule(item=live, length=st.integers(1, 6))
    def compute(self, item: Sequence, length: int) -> None:
        if item not in self.held:
            return
        free, table = self.blocks.num_free, list(item.block_table)
        end = min(len(item.tokens), item.num_computed + length)
        needed = self.blocks.blocks_needed(item, end)
        assert self.blocks.allocate(item, end) == (needed <= free)
        if needed > free:
            assert (self.blocks.num_free, item.block_table) == (free, table)
            return
        assert len(item.block_table) * BLOCK >= end
        start, item.num_computed = item.num_computed, end
        self.blocks.publish(item, start)

    @rule(item=live, token=st.integers(0, 1))
    def generate(self, item: Sequence, token: int) -> None:
        if item in self.held and not item.tree and not item.num_uncomputed:
            item.tokens.append(token)

    @rule(item=consumes(live), discard=st.booleans())
    def leave(self, item: Sequence, discard: bool) -> None:
        if discard:
            others = {block for other in self.held if other is not item for block in other.block_table}
            assert not others & set(self.blocks.discard(item))
        self.blocks.free(item)
        self.held.remove(item)

    @invariant()
    def consistent(self) -> None:
        self.blocks.check_invariants(self.held)
        assert self.blocks.num_used + self.blocks.num_free == BLOCKS
        if not self.held:
            assert self.blocks.num_used == 0

    @invariant()
    def shared_blocks_store_equal_prefixes(self) -> None:
        stored: dict[int, tuple[str, list[int]]] = {}
        for item in self.held:
            for index, block in enumerate(item.block_table[: item.num_computed // BLOCK]):
                prefix = (item.request.cache_salt, item.tokens[: (index + 1) * BLOCK])
                assert stored.setdefault(block, prefix) == prefix


TestBlockOperations = BlockOperations.TestCase
TestBlockOperations.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_the_second_of_two_equal_prompts_takes_the_blocks_of_the_first() -> None:
    blocks = BlockManager(BLOCKS, BLOCK)
    first = computed(blocks, [1, 2, 3, 4, 5])
    second = sequence([1, 2, 3, 4, 9])
    assert blocks.match_prefix(second) == 4
    assert second.block_table == first.block_table[:2]
    assert blocks.num_used == 3


def test_the_last_token_of_a_prompt_is_always_left_to_compute() -> None:
    blocks = BlockManager(BLOCKS, BLOCK)
    computed(blocks, [1, 2, 3, 4])
    assert blocks.match_prefix(sequence([1, 2, 3, 4])) == 2


def test_freed_blocks_are_still_found_until_they_are_given_out() -> None:
    blocks = BlockManager(2, BLOCK)
    blocks.free(computed(blocks, [1, 2, 3, 4]))
    assert blocks.num_used == 0
    again = sequence([1, 2, 9])
    assert blocks.match_prefix(again) == 2
    blocks.free(again)
    blocks.free(computed(blocks, [7, 7, 7, 7]))
    assert blocks.match_prefix(sequence([1, 2, 9])) == 0


def test_the_start_of_a_prefix_outlives_its_end() -> None:
    blocks = BlockManager(3, BLOCK)
    blocks.free(computed(blocks, [1, 2, 3, 4, 5, 6]))
    blocks.free(computed(blocks, [9, 9]))
    assert blocks.match_prefix(sequence([1, 2, 3, 4, 5, 6, 7])) == 4


def test_unequal_salts_do_not_share() -> None:
    blocks = BlockManager(BLOCKS, BLOCK)
    computed(blocks, [1, 2, 3], salt="one tenant")
    assert blocks.match_prefix(sequence([1, 2, 3], salt="another")) == 0
    assert blocks.match_prefix(sequence([1, 2, 3], salt="one tenant")) == 2


def test_tokens_are_not_confused_with_their_digits() -> None:
    blocks = BlockManager(BLOCKS, BLOCK)
    computed(blocks, [1, 23, 4])
    assert blocks.match_prefix(sequence([12, 3, 4])) == 0


def test_without_sharing_nothing_is_found() -> None:
    blocks = BlockManager(BLOCKS, BLOCK, share=False)
    computed(blocks, [1, 2, 3])
    assert blocks.match_prefix(sequence([1, 2, 3])) == 0


def test_a_decision_publishes_its_prompt_and_not_its_branches() -> None:
    blocks = BlockManager(BLOCKS, BLOCK)
    decision = sequence([1, 2], labels=[[3, 4, 5], [6, 7]])
    assert blocks.allocate(decision, len(decision.tokens))
    decision.num_computed = len(decision.tokens)
    blocks.publish(decision)
    assert blocks.match_prefix(sequence([*decision.tokens, 8])) == 2


def test_a_prompt_block_counts_as_being_computed_until_it_is_published_or_given_back() -> None:
    blocks = BlockManager(BLOCKS, BLOCK)
    first, second = sequence([1, 2, 3]), sequence([1, 2, 4])
    assert not blocks.is_being_computed(second)
    assert blocks.allocate(first, 3)
    assert blocks.is_being_computed(second)
    blocks.free(first)
    assert not blocks.is_being_computed(second)
    assert blocks.allocate(first, 3)
    first.num_computed = 3
    blocks.publish(first)
    assert not blocks.is_being_computed(second)


def test_a_discarded_prefix_is_not_found_again() -> None:
    blocks = BlockManager(BLOCKS, BLOCK)
    failed = computed(blocks, [1, 2, 3])
    assert blocks.discard(failed) == failed.block_table
    blocks.free(failed)
    assert blocks.match_prefix(sequence([1, 2, 3])) == 0


DAMAGES: dict[str, Callable[[BlockManager], object]] = {
    "reference counts": lambda blocks: blocks._holders.__setitem__(0, 1),
    "free list": lambda blocks: blocks._free.popitem(),
    "hashes": lambda blocks: blocks._hash_of.popitem(),
    "announced blocks": lambda blocks: blocks._computing.update({b"digest": 0}),
    "nobody computes": lambda blocks: (
        blocks._computing.update({b"digest": 0}),
        blocks._announced.update({0: b"digest"}),
    ),
}


@pytest.mark.parametrize("words", DAMAGES)
def test_damage_is_found_when_nothing_runs(words: str) -> None:
    blocks = BlockManager(BLOCKS, BLOCK)
    blocks.free(computed(blocks, [1, 2, 3]))
    blocks.check_invariants([])
    DAMAGES[words](blocks)
    with pytest.raises(AssertionError, match=words):
        blocks.check_invariants([])


def test_damage_is_found_without_pythons_assertions() -> None:
    script = (
        "from app.engine.core.block_manager import BlockManager as B; b = B(2, 2); b._free.popitem(); "
        "b.check_invariants([])"
    )
    run = subprocess.run([sys.executable, "-O", "-c", script], capture_output=True, text=True, timeout=60)
    assert "the free list is wrong" in run.stderr
