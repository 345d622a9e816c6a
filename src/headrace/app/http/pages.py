"""What a browser loads: the page's files and Swagger UI, all from this host."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from headrace.app.http.decoding import Web

_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
    "png": "image/png",
}
_STRICT = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
# Swagger UI sets styles from its script and shows icons as data: URLs; it loads nothing from elsewhere.
_DOCS = f"{_STRICT}; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
_SWAGGER_FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
_DOCS_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Headrace API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"><link rel="icon" href="/docs/favicon-32x32.png"></head>
<body><div id="docs"></div><script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script></body></html>
"""
_DOCS_START = "SwaggerUIBundle({url: '/docs/openapi.json', dom_id: '#docs', deepLinking: true, validatorUrl: null});\n"

PageFile = tuple[bytes, str]


def page_files() -> dict[str, PageFile]:
    """Return the page's files by their path, with media types."""
    found: dict[str, PageFile] = {}
    for entry in files("headrace.app").joinpath("page").iterdir():
        kind = _TYPES.get(entry.name.rpartition(".")[2])
        if kind is not None:
            found["/" if entry.name == "index.html" else f"/{entry.name}"] = (entry.read_bytes(), kind)
    return found


def docs_files() -> dict[str, PageFile]:
    """Return the files of `/docs` by their path, the document not among them."""
    found: dict[str, PageFile] = {
        "/docs": (_DOCS_PAGE.encode(), _TYPES["html"]),
        "/docs/start.js": (_DOCS_START.encode(), _TYPES["js"]),
    }
    vendor = files("swagger_ui_bundle").joinpath("vendor")
    folder = next(entry for entry in vendor.iterdir() if entry.name.startswith("swagger-ui"))
    for name in _SWAGGER_FILES:
        found[f"/docs/{name}"] = (folder.joinpath(name).read_bytes(), _TYPES[name.rpartition(".")[2]])
    return found


def file_routes(page: Mapping[str, PageFile], docs: Mapping[str, PageFile]) -> list[HTTPRouteHandler]:
    """Return one route that serves the files, and one for the document."""
    known = {**page, **docs}

    @get(sorted(known), include_in_schema=False)
    async def show_file(request: Web) -> Response[bytes]:
        content, kind = known[request.scope["path"].rstrip("/") or "/"]
        policy = _DOCS if request.scope["path"].startswith("/docs") else _STRICT
        headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return Response(content, media_type=kind, headers=headers)

    @get("/docs/openapi.json", include_in_schema=False)
    async def show_document(request: Web) -> Response[bytes]:
        return Response(msgspec.json.encode(request.app.state["document"]), media_type="application/json")

    return [show_file, show_document]
