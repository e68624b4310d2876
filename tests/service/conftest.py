"""One real service with the embedded model for all tests that leave it whole."""

from collections.abc import Iterator

import pytest

from tests.service.running_service import Service, running_service


@pytest.fixture(scope="package")
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running
