"""What all request bodies share: strictness, and fields that are known but must keep their neutral value."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError


class StrictModel(BaseModel):
    """No conversions (`"1"` is no number, `true` is no 1) and no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


def _as_it_is(value: Any) -> Any:
    return value


LETS_GO = AfterValidator(_as_it_is)
"""On the items of a list of objects: a call of Python's own, at which a thread lets another one run.

Ten thousand objects without it are one piece of work, up to 24 ms, in which the event loop waits.
"""


def documented(**keywords: Any) -> Any:
    """JSON schema keywords for bounds that other code checks, with an error of its own: they say, and check nothing.

    Each must hold for all that is accepted, since clients take the schema at its word.
    """
    return Field(json_schema_extra=keywords)


NotBlank = Annotated[str, documented(minLength=1, pattern=r"\S")]
"""The services refuse it where nothing but white space is in it."""


def check_neutral(value: Any, *neutral_values: Any) -> Any:
    """The value, where it is null or one of those that ask for nothing.

    Raises:
        PydanticCustomError: it asks for something that this server does not do.
    """
    if value is None or any(type(value) is type(known) and value == known for known in neutral_values):
        return value
    raise PydanticCustomError("unsupported_parameter", "unsupported")


def neutral(*values: Any) -> BeforeValidator:
    """A field that we cannot honour: null and `values` ask for nothing, all else is refused by name."""
    documented = Annotated[Any, WithJsonSchema({"enum": [None, *values]})]
    return BeforeValidator(lambda value: check_neutral(value, *values), json_schema_input_type=documented)
