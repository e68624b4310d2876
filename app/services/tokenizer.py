"""Tokenizer: text to ids and back, where control ids come from the server and never from a client's text."""

import re
import unicodedata
from array import array
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import tokenizers
from msgspec.structs import replace
from tokenizers.decoders import DecodeStream

from app.errors import InvalidRequest
from app.services.chat_template import ChatTemplate, Message
from app.services.model_file import InvalidModelFile
from app.services.token_bytes import bytes_of_token
from app.services.tokenizer_files import (
    AddedToken,
    TokenizerFiles,
    TokenizerParts,
    read_tokenizer_files,
    with_added_tokens,
)

__all__ = ["Message", "Tokenizer"]

_NORMALIZATION_SHRINKS = 3
"""Unicode composition makes at most three bytes one."""
_PIECES_KEPT, _PIECE_CHARACTERS = 256, 4_000
"""Pieces of prompts whose ids are kept, and up to which length: a few megabytes at most."""
_AT_ONCE = 1 << 16
"""A million characters or ids are gone through in pieces of so many, between which the event loop may run."""
_PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


class Tokenizer:
    """The model's tokenizer and chat template.

    *Control tokens* are the special tokens and those that the chat template writes. A client's text that
    spells one is encoded as the ordinary characters that it is.

    Attributes:
        special_ids: ids of control tokens.
        hidden_ids: ids that are no text in an answer.
        eos_token_ids: ids that end an answer, as the model's files say.
        vocab_size: one more than the highest id.
    """

    def __init__(self, files: TokenizerFiles) -> None:
        added = files.parts.added_tokens or []
        template = files.chat_template or ""
        control = [t for t in added if t.special or (t.content.strip() and t.content in template)]
        self._plain = _without_control(files, control)
        self._aware = None if _stand_alone(control, files.parts) else _from_json(files.content)
        self.special_ids = frozenset(t.id for t in control)
        self.hidden_ids = frozenset(t.id for t in added if t.special)
        unknown = self._plain.token_to_id(files.special_tokens.get("unk_token", ""))
        self._forbidden_ids = self.special_ids - {unknown}
        self._control_ids = {t.content: t.id for t in control if t.content}
        self._control = _longest_first(self._control_ids)
        self._first_characters = _compatible({text[0] for text in self._control_ids})
        self._template = (
            ChatTemplate(files.chat_template, files.special_tokens) if files.chat_template else None
        )
        self.vocab_size = _vocabulary_size(self._plain, added)
        self.eos_token_ids = files.eos_token_ids or self._ids_of(files, ["eos_token"])
        self._prefix, self._suffix = self._frame(files)
        self._byte_level = (files.parts.decoder or {}).get("type") == "ByteLevel"
        self._bytes: dict[
            int, bytes
        ] = {}  # of the tokens that were asked for: few of a large vocabulary ever are
        self._longest = self._longest_token(normalizes=files.parts.normalizer is not None)
        self._ids_of_piece = lru_cache(maxsize=_PIECES_KEPT)(self._encode_piece)

    @property
    def has_chat_template(self) -> bool:
        """Whether messages can become a prompt."""
        return self._template is not None

    @classmethod
    def from_directory(cls, path: Path | str) -> "Tokenizer":
        """Read a model directory.

        Raises:
            FileNotFoundError: there is no tokenizer.json.
            InvalidModelFile: one of the files is not what it should be.
        """
        try:
            return cls(read_tokenizer_files(Path(path)))
        except FileNotFoundError:
            raise
        except Exception as error:  # the library raises nothing more special
            raise InvalidModelFile(f"The tokenizer in {path} cannot be used: {error}") from error

    def encode(self, text: str) -> list[int]:
        """Ids of the client's text: no control id, no beginning-of-sequence id."""
        ids = _ids(self._plain, text)
        return ids if self._harmless(ids) else self._encode_apart(text)

    def encode_completion(self, text: str) -> list[int]:
        """Ids of the text within the frame (usually a first id, bos) that the model was trained with."""
        return [*self._prefix, *self.encode(text), *self._suffix]

    def encode_prompt(self, messages: Sequence[Message], tenant: str = "") -> list[int]:
        """Ids of a conversation in the model's chat template, up to where the assistant speaks next.

        Args:
            tenant: whose earlier prompts may save work; another's would show by the time that it takes.

        Raises:
            InvalidRequest: the model has no chat template, or it refuses these messages.
        """
        if self._template is None:
            raise InvalidRequest("This model has no chat template.", "messages")
        masks = self._masks(messages)
        rendered = self._template.render([Message(m.role, _replaced(m.content, masks)) for m in messages])
        controls = list(self._control.finditer(rendered)) if self._control_ids else []
        unmask = {mask: character for character, mask in masks.items()}
        return self._encode_rendered(rendered, controls, unmask, tenant)

    def decode(self, ids: Sequence[int], *, skip_hidden: bool = False) -> str:
        """Text of the ids, control tokens spelled out unless they are to be skipped."""
        kept = [i for i in ids if i not in self.hidden_ids] if skip_hidden else list(ids)
        return str(self._plain.decode_batch([kept], skip_special_tokens=False)[0])

    def token_bytes(self, token: int) -> bytes:
        """Bytes of one id; where tokens are not byte-level, of its text alone. Unknown ids: none."""
        if not self._byte_level:
            return self.decode([token]).encode()
        known = self._bytes.get(token)
        if known is None:
            known = self._bytes[token] = bytes_of_token(self._plain.id_to_token(token) or "")
        return known

    @property
    def byte_level(self) -> bool:
        """Whether joining `token_bytes` gives the text exactly."""
        return self._byte_level

    def step(self, stream: DecodeStream, token: int) -> str:
        """Feed one id to a decode stream: the text that became certain."""
        return stream.step(self._plain, token) or ""

    def fewest_tokens(self, size: int) -> int:
        """A lower bound of the tokens of any text of `size` bytes; 0 where nothing is known."""
        return size // self._longest if self._longest else 0

    def _harmless(self, ids: list[int]) -> bool:
        return all(
            self._forbidden_ids.isdisjoint(ids[start : start + _AT_ONCE])
            for start in range(0, len(ids), _AT_ONCE)
        )

    def _encode_apart(self, text: str) -> list[int]:
        """Halve the text until no part of it gives a control id (vocabularies that spell one as a whole)."""
        ids = _ids(self._plain, text)
        if self._harmless(ids):
            return ids
        if len(text) == 1:
            raise InvalidRequest("The text has a character that this model keeps for control.")
        half = len(text) // 2
        return self._encode_apart(text[:half]) + self._encode_apart(text[half:])

    def _masks(self, messages: Sequence[Message]) -> dict[str, str]:
        """For each character that may begin a control token, a private-use one that no message has."""
        present = set[str]()
        for content in (message.content for message in messages):
            for start in range(0, len(content), _AT_ONCE):
                present.update(content[start : start + _AT_ONCE])
        wanted = sorted(present & self._first_characters)
        free = (chr(code) for block in _PRIVATE_USE for code in block if chr(code) not in present)
        masks = dict(zip(wanted, free, strict=False))
        if len(masks) < len(wanted):
            raise InvalidRequest("The messages use too many private-use characters.", "messages")
        return masks

    def _encode_rendered(
        self, rendered: str, controls: list[re.Match[str]], unmask: dict[str, str], tenant: str
    ) -> list[int]:
        """Encode with the control tokens that the template wrote, and with no other."""
        if self._aware is not None:
            (whole,) = self._aware.encode_batch([_replaced(rendered, unmask)], add_special_tokens=False)
            found = [
                (i, o) for i, o in zip(whole.ids, whole.offsets, strict=True) if i in self._forbidden_ids
            ]
            if len(found) == len(controls) and all(
                token == self._control_ids[c[0]] and start <= c.start() and c.end() <= end
                for (token, (start, end)), c in zip(found, controls, strict=True)
            ):
                return list(whole.ids)
        ids, position = list[int](), 0
        for control in controls:
            ids += self._piece(_replaced(rendered[position : control.start()], unmask), tenant)
            ids.append(self._control_ids[control[0]])
            position = control.end()
        ids += self._piece(_replaced(rendered[position:], unmask), tenant)
        return ids

    def _piece(self, text: str, tenant: str) -> Sequence[int]:
        """Ids of what stands between two control tokens: a system prompt or a question comes again and again."""
        return self._ids_of_piece(text, tenant) if len(text) <= _PIECE_CHARACTERS else self.encode(text)

    def _encode_piece(self, text: str, tenant: str) -> "array[int]":
        return array("i", self.encode(text))

    def _frame(self, files: TokenizerFiles) -> tuple[list[int], list[int]]:
        """Ids that plain text gets before and after it."""
        encoding = self._plain.encode("a", add_special_tokens=True)
        text = [i for i, mask in enumerate(encoding.special_tokens_mask) if not mask]
        prefix, suffix = encoding.ids[: text[0]], encoding.ids[text[-1] + 1 :]
        if files.add_bos is not None:
            prefix = self._ids_of(files, ["bos_token"]) if files.add_bos else []
        if files.add_eos is not None:
            suffix = self._ids_of(files, ["eos_token"]) if files.add_eos else []
        return prefix, suffix

    def _ids_of(self, files: TokenizerFiles, roles: list[str]) -> list[int]:
        ids = [self._plain.token_to_id(files.special_tokens.get(role, "")) for role in roles]
        return [i for i in ids if i is not None]

    def _longest_token(self, *, normalizes: bool) -> int:
        if not self._byte_level:
            return 0
        # One entry at a time: the whole vocabulary as Python strings would stay in memory.
        entries = (self._plain.id_to_token(i) for i in range(self.vocab_size))
        longest = max(len(bytes_of_token(entry)) for entry in entries if entry is not None)
        return longest * (_NORMALIZATION_SHRINKS if normalizes else 1)


def _replaced(text: str, characters: Mapping[str, str]) -> str:
    """The text with other characters for these, none of which becomes one of them.

    A pass for each, and all of them together quicker than `str.translate`: 10 ms for the text of a long context.
    """
    for character, other in characters.items():
        text = text.replace(character, other)
    return text


def _ids(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    """As a batch of one: the library lets go of the interpreter for a batch alone, also when it decodes."""
    (encoding,) = tokenizer.encode_batch_fast([text], add_special_tokens=False)
    ids: list[int] = encoding.ids
    return ids


def _from_json(content: bytes) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_buffer(content)


def _without_control(files: TokenizerFiles, control: list[AddedToken]) -> tokenizers.Tokenizer:
    """The same tokenizer, blind for control tokens in text."""
    content = files.content
    if not all(token.special for token in control):
        ids = {token.id for token in control}
        added = files.parts.added_tokens or []
        content = with_added_tokens(content, [replace(t, special=t.id in ids) for t in added])
    blind = _from_json(content)
    blind.encode_special_tokens = True
    return blind


def _stand_alone(control: list[AddedToken], parts: TokenizerParts) -> bool:
    """Whether text between control tokens gets the same ids alone as within the whole.

    So it is in most models, and one tokenizer (tens of megabytes for a large vocabulary) then serves both. It is not
    where a control token takes in the spaces beside it or is found only after normalization, or where the first piece
    of a text is special.
    """
    plain = not any(t.lstrip or t.rstrip or t.single_word or t.normalized for t in control)
    steps = (parts.pre_tokenizer or {}).get("pretokenizers") or [parts.pre_tokenizer or {}]
    return plain and all(step.get("prepend_scheme") != "first" for step in steps)


def _vocabulary_size(tokenizer: tokenizers.Tokenizer, added: list[AddedToken]) -> int:
    """One more than the highest id."""
    size = max([tokenizer.get_vocab_size(with_added_tokens=False), *(t.id + 1 for t in added)])
    if tokenizer.id_to_token(size - 1) is None:  # a vocabulary with holes
        return int(1 + max(tokenizer.get_vocab(with_added_tokens=True).values()))
    return size


def _longest_first(texts: dict[str, int]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)))


def _compatible(characters: set[str]) -> set[str]:
    """The characters, and the compatibility forms (full width, ...) that a normalizer may turn into them."""
    forms = (chr(code) for block in (range(0x2000, 0x3400), range(0xFE00, 0x10000)) for code in block)
    return characters | {form for form in forms if unicodedata.normalize("NFKC", form)[0] in characters}
