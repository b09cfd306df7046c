"""The web UI: Locust's own, with a tab and a page of ours, and its access control.

Locust's UI answers every origin and asks nobody who they are. Here a request that changes something must come from the
page itself, a UI on loopback is reachable by loopback's names only, and with a login nothing is shown without it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Response, abort, jsonify, redirect, request, send_file, session, url_for
from flask_login import UserMixin, login_user
from locust.env import Environment
from locust.web import WebUI

from streambench.analysis.milestones import PREFIX
from streambench.report.style import css_variables

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
CHANGES_BY_GET = frozenset({"/stop", "/stats/reset"})  # in Locust before 2.47
TAB = "streaming"
REPORTED = ("verdict", "exit_code", "headline", "reasons")  # of the report of a run, what the page shows
NO_REPORT = "There is no report yet: it is written when the run has been stopped."


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Where the UI listens and who may see it. `login`: the user's name and password, None for no login."""

    host: str
    port: int
    tls_cert: str | None = None
    tls_key: str | None = None
    login: tuple[str, str] | list[str] | None = None

    @property
    def is_local(self) -> bool:
        """It can be reached from this machine only."""
        return self.host in LOOPBACK


@dataclass(slots=True)
class StreamingPages:
    """What the pages of ours show: the newest snapshot, and the report of the last run that ended."""

    scenario: str
    run: str | None = None
    running: bool = False
    snapshot: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] | None = None

    def begin(self, run: str) -> None:
        """A run begins; what was shown of the last one goes."""
        self.run, self.running, self.snapshot, self.report = run, True, {}, None

    def end(self) -> None:
        """The load has ended; the report is on its way."""
        self.running = False


def open_web_ui(
    environment: Environment,
    settings: WebSettings,
    pages: StreamingPages,
    *,
    class_picker: bool,
    live: Callable[[], dict[str, Any]],
) -> WebUI:
    """Locust's web UI with the Streaming tab and the page at `/streambench`, serving. `live`: the workers' part."""
    web_ui = environment.create_web_ui(
        host=settings.host,
        port=settings.port,
        web_login=settings.login is not None,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
        delayed_start=True,
        userclass_picker_is_active=class_picker,
    )
    assert web_ui.app is not None
    app = web_ui.app
    app.debug = False
    app.secret_key = secrets.token_bytes(32)
    app.config.update(
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.tls_cert is not None,
        SESSION_COOKIE_NAME=f"streambench_{settings.port}",
    )
    app.wsgi_app = _without_cors(app.wsgi_app)  # type: ignore[method-assign]
    web_ui.template_args["extended_tabs"] = [{"title": "Streaming", "key": TAB}]
    web_ui.template_args["extended_csv_files"] = [{"href": "./streambench/report", "title": "Streaming report"}]
    _guard(web_ui, settings, {user_class.host for user_class in environment.user_classes})
    if settings.login is not None:
        _add_login(web_ui, *settings.login)
    _add_pages(web_ui, pages, live)
    web_ui.start()
    return web_ui


def _guard(web_ui: WebUI, settings: WebSettings, hosts: set[str | None]) -> None:
    assert web_ui.app is not None

    @web_ui.app.before_request
    def only_from_here() -> Response | None:
        name = urlsplit(f"//{request.host}").hostname
        if settings.is_local and name not in LOOPBACK:
            abort(403, "This page is for this machine only; start with --web-host to open it to others.")
        if request.method == "POST" or request.path in CHANGES_BY_GET:
            origin = request.headers.get("Origin")
            foreign = origin is not None and urlsplit(origin).netloc != request.host
            if foreign or request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
                abort(403, "A change must come from this page itself.")
            host = request.form.get("host", "")
            if request.path == "/swarm" and host and host not in hosts:
                return jsonify(
                    {"success": False, "message": "Where the load goes stands in the scenario.", "host": host}
                )
        return None

    @web_ui.app.after_request
    def harden(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
        response.headers["Referrer-Policy"] = "same-origin"
        return response


def _without_cors(wsgi_app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Locust lets pages of every origin read its answers; this takes the leave back."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            kept = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
            return start_response(status, kept, *rest)

        return wsgi_app(environ, start)

    return application


def _add_login(web_ui: WebUI, name: str, password: str) -> None:
    assert web_ui.app is not None

    class Reader(UserMixin):  # type: ignore[misc]
        def get_id(self) -> str:
            return name

    web_ui.login_manager.user_loader(lambda user_id: Reader() if user_id == name else None)
    web_ui.auth_args["username_password_callback"] = "/streambench/login"  # noqa: S105 - where the form is sent

    @web_ui.app.route("/streambench/login", methods=["POST"])
    def streambench_login() -> Any:
        given = (request.form.get("username", ""), request.form.get("password", ""))
        right = [secrets.compare_digest(a.encode(), b.encode()) for a, b in zip(given, (name, password), strict=True)]
        if all(right):
            login_user(Reader())
            return redirect(url_for("locust.index"))
        session["auth_error"] = "The name or the password is wrong."
        return redirect(url_for("locust.login"))


def _add_pages(web_ui: WebUI, pages: StreamingPages, live: Callable[[], dict[str, Any]]) -> None:
    assert web_ui.app is not None
    app = web_ui.app
    folder = files("streambench.locust") / "page"
    page = (folder / "live.html").read_text("utf-8").replace("/*COLOURS*/", css_variables())
    tab = (folder / "tab.js").read_text("utf-8")

    def snapshot() -> dict[str, Any]:
        report = pages.report
        return {
            "scenario": pages.scenario,
            "run": pages.run,
            "running": pages.running,
            "live": pages.snapshot,
            "now": live(),
            "report": None if report is None else {key: report[key] for key in REPORTED},
        }

    def streambench_page() -> Response:
        nonce = secrets.token_urlsafe(16)
        response = Response(page.replace("NONCE", nonce), mimetype="text/html")
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
        )
        response.headers["Cache-Control"] = "no-store"
        return response

    def streambench_live() -> Response:
        # Targets and metrics keep their order, which Flask's own JSON would not.
        response = Response(json.dumps(snapshot()), mimetype="application/json")
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.route("/streambench/tab.js")
    def streambench_tab() -> Response:
        return Response(tab, mimetype="text/javascript")

    def streambench_report() -> Response:
        if pages.report is None or pages.report["path"] is None:
            return Response(NO_REPORT, status=404, mimetype="text/plain")
        return send_file(Path(pages.report["path"]), mimetype="text/html", max_age=0)

    views = {"": streambench_page, "/live.json": streambench_live, "/report": streambench_report}
    for path, view in views.items():
        app.add_url_rule(f"/streambench{path}", view_func=web_ui.auth_required_if_enabled(view))

    @app.after_request
    def add_the_tab(response: Response) -> Response:
        if request.path == "/" and response.mimetype == "text/html" and not response.direct_passthrough:
            script = b'<script src="./streambench/tab.js" defer></script></body>'
            response.set_data(response.get_data().replace(b"</body>", script, 1))
        elif request.path == "/stats/requests" and response.is_json:
            report = response.get_json()
            with_exact_figures(report.get("stats", []), pages.snapshot)
            response.set_data(app.json.dumps(report))
        return response


# The metric of a target's row, and of the rows beside it.
ROW_METRICS = {"TTFC": "ttfc", "GAP": "gap", "GAP MAX": "gap_max"}


def with_exact_figures(stats: list[dict[str, Any]], snapshot: dict[str, Any]) -> None:
    """Put the exact figures of a snapshot in place of Locust's rounded ones, in the rows of `/stats/requests`."""
    targets = snapshot.get("targets", {})
    for row in stats:
        target = targets.get(row["name"])
        if target is None:
            continue
        method = row["method"]
        figures = target["metrics"].get(method if method.startswith(PREFIX) else ROW_METRICS.get(method, "e2e"))
        if figures is None or not figures["n"]:
            continue
        row["median_response_time"] = figures["p50"]
        row["avg_response_time"] = figures["mean"]
        row["min_response_time"], row["max_response_time"] = figures["min"], figures["max"]
        for percent in (0.95, 0.99):
            key = f"response_time_percentile_{percent}"
            if key in row:
                row[key] = figures[f"p{percent * 100:.0f}"]
