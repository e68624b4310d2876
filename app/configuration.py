"""What must be right before anything slow begins: settings that are known, safe, and name a model that is there."""

from pydantic import ValidationError

from app.model_source import ModelNotAvailable, model_directory
from app.settings import Settings, UnknownSetting, UnsafeSetting, explain, load_settings, refuse_unsafe

WRONG_CONFIGURATION = (ValidationError, UnknownSetting, UnsafeSetting, ModelNotAvailable)
"""What `load_configuration` raises."""


def load_configuration(host: str | None = None) -> Settings:
    """The settings of the environment, with `model` as a local directory and `model_name` never empty.

    Args:
        host: the address that is really listened on, where that is another's choice than the settings'.

    Raises:
        one of `WRONG_CONFIGURATION`, which `complaint` puts into words.
    """
    settings = load_settings()
    refuse_unsafe(settings if host is None else settings.model_copy(update={"host": host}))
    directory = str(model_directory(settings.model))
    return settings.model_copy(update={"model": directory, "model_name": settings.served_name})


def complaint(error: Exception) -> str:
    """For the operator: one line for each thing that is wrong."""
    return explain(error) if isinstance(error, ValueError) else str(error)
