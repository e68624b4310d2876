"""Reads what a model directory says about its tokenizer beside `tokenizer.json` itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec


class AddedToken(msgspec.Struct, frozen=True):
    """One entry of `added_tokens` in tokenizer.json."""

    id: int
    content: str
    special: bool = False
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False


class TokenizerParts(msgspec.Struct, frozen=True):
    """The small parts of tokenizer.json. The vocabulary is never made Python objects: it is tens of megabytes."""

    added_tokens: list[AddedToken] | None = None
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """The tokenizer's files, merged.

    Attributes:
        content: tokenizer.json as it lies there.
        parts: what this service reads of it.
        special_tokens: role (`bos_token`, ...) to the token's text.
        chat_template: Jinja source, or None where the model has none.
        eos_token_ids: end tokens that the generation config names; may be empty.
        add_bos, add_eos: what plain text gets; None leaves it to tokenizer.json.
    """

    content: bytes
    parts: TokenizerParts
    special_tokens: dict[str, str] = field(default_factory=dict)
    chat_template: str | None = None
    eos_token_ids: list[int] = field(default_factory=list)
    add_bos: bool | None = None
    add_eos: bool | None = None


def read_tokenizer_files(directory: Path) -> TokenizerFiles:
    """Read them all.

    Raises:
        FileNotFoundError: there is no tokenizer.json.
        ValueError: a file is not JSON, or not what it should be.
    """
    content = (directory / "tokenizer.json").read_bytes()
    config = _read_json(directory / "tokenizer_config.json")
    template_file = directory / "chat_template.jinja"
    template = template_file.read_text("utf-8") if template_file.exists() else config.get("chat_template")
    return TokenizerFiles(
        content=content,
        parts=msgspec.json.decode(content, type=TokenizerParts),
        special_tokens=_special_tokens(config | _read_json(directory / "special_tokens_map.json")),
        chat_template=_default_template(template),
        eos_token_ids=_as_list(_read_json(directory / "generation_config.json").get("eos_token_id")),
        add_bos=config.get("add_bos_token"),
        add_eos=config.get("add_eos_token"),
    )


def with_added_tokens(content: bytes, tokens: list[AddedToken]) -> bytes:
    """The same tokenizer.json with other added tokens."""
    raw: dict[str, Any] = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    return msgspec.json.encode(raw | {"added_tokens": tokens})


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Entries named `..._token`, each either its text or an object that holds it."""
    texts = {
        name: value.get("content") if isinstance(value, dict) else value
        for name, value in config.items()
        if name.endswith("_token")
    }
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _default_template(template: Any) -> str | None:
    """A model may bring several named templates; chat uses the one called default."""
    if isinstance(template, list):
        template = next((entry["template"] for entry in template if entry["name"] == "default"), None)
    return template if isinstance(template, str) else None


def _as_list(ids: int | list[int] | None) -> list[int]:
    if ids is None:
        return []
    return [ids] if isinstance(ids, int) else list(ids)
