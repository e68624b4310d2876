"""SamplingDefaults: how a model wants its tokens chosen where the client does not say."""

from pathlib import Path
from typing import Annotated

import msgspec

FILE_NAME = "generation_config.json"


class InvalidGenerationConfig(ValueError):
    """The model's `generation_config.json` cannot be used; the message is for the operator."""


class SamplingDefaults(msgspec.Struct, frozen=True):
    """The sampling part of a generation config; without one the defaults are OpenAI's.

    Makers of a model state here what it was tuned for, and a small model at temperature 1 writes nonsense. The bounds
    are those of the API.
    """

    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(ge=0.01, le=10)] | None = None


def load_sampling_defaults(model: str) -> SamplingDefaults:
    """Those of a model's directory.

    Raises:
        InvalidGenerationConfig: the file is there and cannot be used.
    """
    try:
        return msgspec.json.decode((Path(model) / FILE_NAME).read_bytes(), type=SamplingDefaults)
    except (FileNotFoundError, NotADirectoryError):
        return SamplingDefaults()
    except msgspec.DecodeError as error:
        raise InvalidGenerationConfig(f"{FILE_NAME} of the model cannot be used: {error}") from error
