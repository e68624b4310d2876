"""Reads what a model directory says about its tokenizer beside `tokenizer.json` itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """The tokenizer's files, merged.

    Attributes:
        tokenizer: content of tokenizer.json.
        special_tokens: role (`bos_token`, ...) to the token's text.
        chat_template: Jinja source, or None where the model has none.
        eos_token_ids: end tokens that the generation config names; may be empty.
        add_bos, add_eos: what plain text gets; None leaves it to tokenizer.json.
    """

    tokenizer: dict[str, Any]
    special_tokens: dict[str, str] = field(default_factory=dict)
    chat_template: str | None = None
    eos_token_ids: list[int] = field(default_factory=list)
    add_bos: bool | None = None
    add_eos: bool | None = None


def read_tokenizer_files(directory: Path) -> TokenizerFiles:
    """Read them all.

    Raises:
        FileNotFoundError: there is no tokenizer.json.
        ValueError: a file is not JSON.
    """
    config = _read_json(directory / "tokenizer_config.json")
    template_file = directory / "chat_template.jinja"
    template = template_file.read_text("utf-8") if template_file.exists() else config.get("chat_template")
    return TokenizerFiles(
        tokenizer=json.loads((directory / "tokenizer.json").read_text("utf-8")),
        special_tokens=_special_tokens(config | _read_json(directory / "special_tokens_map.json")),
        chat_template=_default_template(template),
        eos_token_ids=_as_list(_read_json(directory / "generation_config.json").get("eos_token_id")),
        add_bos=config.get("add_bos_token"),
        add_eos=config.get("add_eos_token"),
    )


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
