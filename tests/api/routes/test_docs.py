"""`GET /docs`: a page that needs nobody but the service."""

import re
from urllib.parse import urljoin

import httpx
import pytest

pytestmark = pytest.mark.anyio
PAGE = "http://toy/docs"


async def test_every_file_of_the_page_comes_from_the_service(client: httpx.AsyncClient) -> None:
    page = await client.get(PAGE)
    assert page.status_code == 200
    assert "://" not in page.text and '"validatorUrl": null' in page.text
    links = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text)
    (document,) = re.findall(r"url: '([^']+)'", page.text)
    assert len(links) == 3
    types = {}
    for link in (*links, document):
        answer = await client.get(urljoin(PAGE, link))
        assert answer.status_code == 200 and answer.content
        types[link.split(".")[-1]] = answer.headers["content-type"].split(";")[0]
    assert types == {
        "js": "text/javascript",
        "css": "text/css",
        "png": "image/png",
        "json": "application/json",
    }


async def test_the_files_are_those_of_a_swagger_ui_that_reads_our_document(client: httpx.AsyncClient) -> None:
    script = await client.get("/docs/swagger-ui-bundle.js")
    assert "SwaggerUIBundle" in script.text
    assert re.search(r'PACKAGE_VERSION:"5\.', script.text)  # OpenAPI 3.1 needs version 5
    assert (await client.get("/openapi.json")).json()["openapi"].startswith("3.1")


@pytest.mark.parametrize("name", ["redoc.standalone.js", "..%2f__init__.py", "%2e%2e/core.py", "x"])
async def test_nothing_else_is_served(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/docs/{name}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")


async def test_there_is_no_page_that_loads_from_elsewhere(client: httpx.AsyncClient) -> None:
    assert (await client.get("/redoc")).status_code == 404
