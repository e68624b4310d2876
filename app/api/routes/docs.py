"""`GET /docs`: the API reference as a page, with every file it needs: it works on a machine without a network."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

router = APIRouter(include_in_schema=False)

SCRIPT, STYLE, ICON = "swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"
_DIRECTORY = Path(str(files("fastapi_offline") / "static"))


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Swagger UI; its addresses are relative, so that a proxy may serve it below any path."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title=request.app.title,
        swagger_js_url=f"docs/{SCRIPT}",
        swagger_css_url=f"docs/{STYLE}",
        swagger_favicon_url=f"docs/{ICON}",
        swagger_ui_parameters={"validatorUrl": None},  # by default a server of Swagger's is asked for a badge
    )


@router.get("/docs/{name}")
async def asset(name: str) -> FileResponse:
    """One of the page's files."""
    if name not in (SCRIPT, STYLE, ICON):
        raise HTTPException(404)
    return FileResponse(_DIRECTORY / name)
