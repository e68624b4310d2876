"""VirtualDecoder: the virtual model in the native decoder's place, with a KV cache in which a wrong block shows."""

from itertools import islice
from typing import Any, NamedTuple

import torch

from app.engine.core.model_loader import LoadedModel
from app.engine.native.decoder import NativeDecoder, Speaker, Spoken
from simulation.faults import Faults
from simulation.virtual_model import BEGIN, EOS, LIKELIEST, LOGITS, NAN, POISON, VOCABULARY, follow, row_of


class _Row(NamedTuple):
    """The fields of `Row` in src/attention.h, where `place` is the token's index in its sequence."""

    token: int
    position: int
    place: int
    table: int
    prefix_end: int
    branch_start: int


class VirtualDecoder(NativeDecoder):
    """Keeps in each slot of its cache what `follow` makes of the token and the slot before it.

    A row reads all slots that it is told to see, through its table. So a block that is shared, freed, overwritten or
    counted wrongly gives another answer than the prefix alone does.
    """

    def __init__(self, faults: Faults) -> None:
        self.threads = 1
        self.vocab_size = VOCABULARY
        self._faults = faults
        self._blocks = list[list[int]]()
        self._size = 1

    @property
    def memory_bytes(self) -> int:
        return 1

    def allocate(self, blocks: int, block_size: int) -> None:
        self._blocks = [[0] * block_size for _ in range(blocks)]
        self._size = block_size

    def step(self, rows: Any, tables: list[int], wanted: list[int], threads: int) -> torch.Tensor:
        self._faults.before_pass(len(rows))
        chosen, asked = list[int](), set(wanted)
        for number, row in enumerate(rows.tolist()):
            likely = self._compute(_Row(*row), tables, number in asked)
            if number in asked:
                chosen.append(likely)
        return torch.from_numpy(LOGITS[chosen])

    def burst(
        self, speakers: list[Speaker], rounds: int, threads: int, arrivals: int = -1
    ) -> tuple[list[Spoken], int]:
        speeches = [_Speech(speaker) for speaker in speakers]
        speaking, done, went_off = list(speeches), 0, 0
        news = owing = False
        while speaking and (owing or (done < rounds and not news)):
            rows = [(speech, *row) for speech in speaking for row in speech.rows()]
            self._faults.before_pass(len(rows))
            likeliest = []
            for speech, index, token in rows:
                row = _Row(token, index, index, 0, index + 1, index + 1)
                likeliest.append(LIKELIEST[self._compute(row, speech.speaker.blocks, True)])
            following = iter(likeliest)
            for speech in speaking:
                went_off += speech.take(list(islice(following, speech.width + 1)))
            owing = any(not speech.ended and not speech.tokens for speech in speaking)
            news = 2 * went_off > len(speaking)
            speaking = [speech for speech in speaking if not speech.ended]
            done += 1
        return [speech.spoken() for speech in speeches], done

    def _compute(self, row: _Row, tables: list[int], wanted: bool) -> int:
        """Write a row's slot; return its row of logits, where it is wanted."""
        token, position, place, table, prefix_end, branch_start = row
        if token == POISON:
            raise RuntimeError("poison")
        branch = prefix_end <= place
        before = prefix_end - 1 if branch and branch_start == place else place - 1
        state = BEGIN if before < 0 else self._slots(tables, table, before, before + 1)[0]
        state = NAN if wanted and self._faults.spoils() else follow(state, token, position)
        block, slot = divmod(place, self._size)
        self._blocks[tables[table + block]][slot] = state
        if not wanted:
            return 0
        seen = sum(self._slots(tables, table, 0, min(prefix_end, place + 1)))
        if branch:
            seen += sum(self._slots(tables, table, branch_start, place + 1))
        return row_of(state, seen, token)

    def _slots(self, tables: list[int], table: int, begin: int, end: int) -> list[int]:
        size = self._size
        if end - begin == 1:
            return [self._blocks[tables[table + begin // size]][begin % size]]
        first = begin // size
        slots = list[int]()
        for number in tables[table + first : table + (end - 1) // size + 1]:
            slots += self._blocks[number]
        return slots[begin - first * size : end - first * size]


class _Speech:
    """A speaker in the course of a burst; as `Speech` in burst.cpp."""

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker
        self.tokens = list[int]()
        self.width = 0
        self.ended = False
        self._token, self._index = speaker.token, speaker.place
        self._foretold, self._widths = list(speaker.foretold), list(speaker.widths)
        self._drafted = self._accepted = self._tested = self._matched = 0

    def rows(self) -> list[tuple[int, int]]:
        """(index, token) of what it computes next."""
        width = self._widths.pop(0) if self._widths else 0
        self.width = min(width, len(self._foretold), self.speaker.most - len(self.tokens) - 1)
        self._drafted += self.width
        return list(enumerate([self._token, *self._foretold[: self.width]], self._index))

    def take(self, likeliest: list[int]) -> bool:
        """Take the likeliest token behind each of its rows; whether what was foretold came to its end."""
        went_off = False
        for number, token in enumerate(likeliest):
            if token < 0:
                self.ended = number > 0 or not self.width
                self._foretold = []
                break
            self.tokens.append(token)
            self._token, self._index = token, self._index + 1
            self.ended = len(self.tokens) == self.speaker.most or token in self.speaker.stops
            if not self._foretold:
                break
            right = self._foretold.pop(0) == token
            self._tested += 1
            self._matched += right
            if not right:
                self._foretold = []
            went_off = not self._foretold
            self._accepted += right and number < self.width
            if not right or self.ended:
                break
        return went_off

    def spoken(self) -> Spoken:
        return Spoken(self.tokens, self._drafted, self._accepted, self._tested, self._matched)


def loaded(decoder: VirtualDecoder, max_model_len: int) -> LoadedModel:
    """The virtual model as the engine gets a model."""
    return LoadedModel(
        model=decoder,
        device=torch.device("cpu"),
        dtype=torch.float32,
        cache_dtype=torch.float32,
        quantization="none",
        kernels="native",
        reasons=[],
        kv_shapes=[(1, 1)],
        max_model_len=max_model_len,
        vocab_size=VOCABULARY,
        eos_token_ids=frozenset([EOS]),
        parameters=1,
        memory_bytes=1,
    )
