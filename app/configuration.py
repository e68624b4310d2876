"""What must be right before anything slow begins: settings that are known, safe, and name a model that is there."""

import ipaddress

from pydantic import ValidationError

from app.model_source import ModelNotAvailable, model_directory
from app.settings import PREFIX, Settings, UnknownSetting, load_settings


class UnsafeSetting(ValueError):
    """A combination of settings that would leave the service open to strangers."""


WRONG_CONFIGURATION = (ValidationError, UnknownSetting, UnsafeSetting, ModelNotAvailable)
"""What `load_configuration` raises."""


def load_configuration(host: str | None = None) -> Settings:
    """The settings of the environment, with `model` as a local directory and `model_name` never empty.

    Args:
        host: the address that is really listened on, where that is another's choice than the settings'.

    Raises:
        one of `WRONG_CONFIGURATION`, which `complaints` puts into words.
    """
    settings = load_settings()
    _refuse_unsafe(settings, settings.host if host is None else host)
    directory = str(model_directory(settings.model))
    return settings.model_copy(update={"model": directory, "model_name": settings.served_name})


def complaints(error: Exception) -> list[str]:
    """One line for the operator for each thing that is wrong."""
    if isinstance(error, ValidationError):
        return [
            f"{PREFIX}{'.'.join(map(str, problem['loc'])).upper()}: {problem['msg']}"
            for problem in error.errors()
        ]
    return [str(error)]


def _refuse_unsafe(settings: Settings, host: str) -> None:
    if settings.api_keys_file or settings.allow_open or _is_loopback(host):
        return
    raise UnsafeSetting(
        f"{PREFIX}HOST is {host}, which others can reach, and there are no API keys. Set "
        f"{PREFIX}API_KEYS_FILE (see `python -m app keys new`), or {PREFIX}ALLOW_OPEN=true if that is meant."
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
