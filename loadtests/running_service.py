"""How the demonstrations reach a service that is running already."""

import argparse
import os

from openai import OpenAI


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the first line of a module's docstring, and the service's address."""
    made = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    made.add_argument("--base-url", default="http://127.0.0.1:8000", help="of the service, without /v1")
    return made


def connect(base_url: str) -> tuple[OpenAI, str]:
    """OpenAI's client, with the key from `REPARTEE_KEY` if one is needed, and the name of the model that is served.

    It tries nothing twice: a second try would hide a failure in a latency.
    """
    key = os.environ.get("REPARTEE_KEY", "none")
    client = OpenAI(base_url=f"{base_url.rstrip('/')}/v1", api_key=key, max_retries=0, timeout=120)
    return client, client.models.list().data[0].id
