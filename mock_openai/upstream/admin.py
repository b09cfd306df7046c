"""The admin API under `/_mock/`: plans, journal and health.

Loopback only, unless a token is set.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing

from aiohttp import web

from mock_openai.upstream.desk import Desk
from mock_openai.upstream.errors import admin_error
from mock_openai.upstream.params import loads
from mock_openai.upstream.plans import PlanError
from mock_openai.upstream.profiles import Trace


class Admin:
    """The admin routes of a server."""

    def __init__(self, desk: Desk, traces: Mapping[str, Trace], token: str | None) -> None:
        self._desk = desk
        self._traces = traces
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """The routes, for aiohttp."""
        return [
            web.post("/_mock/plans", self.put_plans),
            web.get("/_mock/plans", self.list_plans),
            web.delete("/_mock/plans", self.delete_plans),
            web.get("/_mock/journal", self.read_journal),
            web.delete("/_mock/journal", self.clear_journal),
            web.get("/_mock/journal/stream", self.follow_journal),
            web.get("/_mock/health", self.health),
            web.get("/_mock/metrics", self.metrics),
            web.get("/_mock/traces", self.list_traces),
        ]

    @web.middleware
    async def guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse strangers on admin routes."""
        if request.path.startswith("/_mock/"):
            if not self._allowed(request):
                return admin_error(
                    403, "admin routes answer on loopback, or with the token of --admin-token as a bearer"
                )
            if _from_a_page(request):
                return admin_error(403, "admin routes are not for pages in a browser")
            if request.method == "POST" and request.content_type != "application/json":
                # A form of any page could post everything else without being asked.
                return admin_error(415, "send JSON with `Content-Type: application/json`")
        return await handler(request)

    def _allowed(self, request: web.Request) -> bool:
        if self._token is not None:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            return secrets.compare_digest(given.encode(), self._token.encode())
        try:
            return ipaddress.ip_address(request.remote or "").is_loopback
        except ValueError:
            return False

    async def put_plans(self, request: web.Request) -> web.Response:
        """Store a plan or a list of them: 201, or 400 and 422 with what is wrong."""
        try:
            data = loads(await request.read())
        except ValueError as error:
            return admin_error(400, f"the body is not JSON: {error}")
        try:
            stored = await self._desk.put_plans(data)
        except PlanError as error:
            return admin_error(422, str(error))
        return web.json_response({"plans": stored}, status=201)

    async def list_plans(self, request: web.Request) -> web.Response:
        """The ids of the stored plans."""
        return web.json_response({"plans": await self._desk.plan_ids()})

    async def delete_plans(self, request: web.Request) -> web.Response:
        """Forget the plan `?id=`, or all."""
        return web.json_response({"deleted": await self._desk.delete_plans(request.query.get("id"))})

    async def read_journal(self, request: web.Request) -> web.Response:
        """The entries after `?since=` of `?id=` or `?plan=`, oldest first, at most `?limit=` (1000)."""
        query = request.query
        try:
            since, limit = int(query.get("since", 0)), int(query.get("limit", 1000))
        except ValueError:
            return admin_error(400, "`since` and `limit` are integers")
        page = await self._desk.page(query.get("id"), query.get("plan"), since, limit)
        return web.Response(body=page, content_type="application/json", charset="utf-8")

    async def clear_journal(self, request: web.Request) -> web.Response:
        """Forget the entries and attempts of `?plan=`, or all."""
        await self._desk.clear(request.query.get("plan"))
        return web.json_response({"deleted": True})

    async def follow_journal(self, request: web.Request) -> web.StreamResponse:
        """The journal live as lines of JSON: what is there, then what changes, and a ping every 5 s."""
        response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
        await response.prepare(request)
        try:
            async with aclosing(self._desk.follow(request.query.get("plan"))) as lines:
                async for line in lines:
                    await response.write(line)
        except ConnectionResetError:
            return response
        return response

    async def health(self, request: web.Request) -> web.Response:
        """That the server runs, and its clock."""
        return web.json_response(await self._desk.health())

    async def metrics(self, request: web.Request) -> web.Response:
        """The metrics in the text format of Prometheus."""
        return web.Response(
            body=await self._desk.metrics(), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def list_traces(self, request: web.Request) -> web.Response:
        """The traces that a profile can name."""
        return web.json_response(
            {"traces": [{"name": name, "chunks": len(trace.chunks)} for name, trace in sorted(self._traces.items())]}
        )


def _from_a_page(request: web.Request) -> bool:
    """Whether a browser sent it on behalf of a page; what somebody types into the address bar is theirs."""
    return "origin" in request.headers or request.headers.get("sec-fetch-site", "none") != "none"
