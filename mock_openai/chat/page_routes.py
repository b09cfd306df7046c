"""The page at `/`: every system live, in two streaming modes side by side.

Plain files, no build step.
"""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from mock_openai.chat.limits import error

FOLDER = Path(__file__).with_name("page")
HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'self'; connect-src 'self' ws: wss:; img-src data:; frame-ancestors 'none'",
}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def routes() -> list[web.RouteDef]:
    """The routes, for aiohttp."""
    return [web.get("/", index), web.get("/page/{name}", file)]


async def index(_: web.Request) -> web.Response:
    """The page."""
    return _send(FOLDER / "index.html")


async def file(request: web.Request) -> web.Response:
    """One of its scripts and styles; 404 for anything else."""
    names = {path.name: path for path in FOLDER.iterdir()}
    path = names.get(request.match_info["name"])
    return _send(path) if path is not None else error(404, "No such file.")


def _send(path: Path) -> web.Response:
    return web.Response(text=path.read_text("utf-8"), content_type=TYPES[path.suffix], headers=HEADERS)
