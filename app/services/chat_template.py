"""ChatTemplate: turns messages into the model's prompt text in a sandboxed Jinja environment."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct

from app.errors import InvalidRequest

Role = Literal["system", "developer", "user", "assistant"]


class Message(Struct, frozen=True):
    """One turn of a conversation."""

    role: Role
    content: str


class _GenerationBlock(Extension):
    """`{% generation %}` marks training targets; for inference it is its own content."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: the Jinja text that the model was trained with.
        special_tokens: what the template may name: `bos_token`, `eos_token` and the like.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        self.source = source
        self._special_tokens = dict(special_tokens)
        self._template = _environment().from_string(source)
        self._knows_developer = "developer" in source

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt text, up to where the assistant's next turn begins.

        A `developer` message is shown as `system` to templates that know no such role.

        Raises:
            InvalidRequest: the template refuses this sequence of messages.
        """
        try:
            return self._template.render(
                messages=[{"role": self._role(m.role), "content": m.content} for m in messages],
                tools=None,
                documents=None,
                add_generation_prompt=True,
                **self._special_tokens,
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
            raise InvalidRequest(
                "The model's chat template does not accept this sequence of messages.", "messages"
            ) from error

    def _role(self, role: Role) -> str:
        return "system" if role == "developer" and not self._knows_developer else role
