"""Reads a JSON file that a model may bring beside its weights."""

from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


class InvalidModelFile(ValueError):
    """A file of the model cannot be used; the message names it and is for the operator."""


def read_model_file(model: str, name: str, type_: type[T]) -> T | None:
    """The file's content, or None where the model has no such file.

    Raises:
        InvalidModelFile: it is there and cannot be used.
    """
    try:
        return msgspec.json.decode((Path(model) / name).read_bytes(), type=type_)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidModelFile(f"{name} of the model cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise InvalidModelFile(f"{name} of the model cannot be used: {error}") from error
