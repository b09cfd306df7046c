"""The master: stock Locust as a library, with its web UI, in a process of its own (gevent and asyncio do not mix).

It is told what to do in JSON lines on standard input, and says what happens on standard output; it measures nothing and
computes nothing. What workers send of their records goes into the run's file as it came.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import gevent.fileobject
import locust.stats
from locust import User, task
from locust.env import Environment
from locust.event import Events

from streambench.clock import MonotonicClock
from streambench.locust.messages import CLOCK, END, HELLO, OURS, RECORDS, REFUSED, WELCOME
from streambench.locust.runs import Run
from streambench.locust.settings import MasterSettings
from streambench.locust.shape import PhasesShape
from streambench.locust.web import StreamingPages, WebSettings, open_web_ui
from streambench.units import NS_PER_S
from streambench.upstream.clocks import boot_id

ENDS_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 30.0
POLL_S = 0.1

_clock = MonotonicClock()


class Master:
    """One master and its runs."""

    def __init__(self, settings: MasterSettings) -> None:
        self._settings = settings
        self._run: Run | None = None
        self._last: Run | None = None
        self._opened = gevent.event.AsyncResult()
        self._names: dict[str, str] = {}
        self._joined: set[str] = set()
        self._pages = StreamingPages(settings.scenario)
        self._options = Namespace(
            num_users=settings.users,
            spawn_rate=settings.spawn_rate,
            run_time=settings.run_time_s,
            stats_history_enabled=False,
            headless=False,
            enable_rebalancing=False,
            expect_workers=settings.expect_workers,
            tags=None,
            exclude_tags=None,
            stop_timeout=settings.stop_timeout_s,
            **{OURS: {"run": None, "phase": 0}},
        )
        classes = [behaviour(name, where) for name, where in settings.classes.items()]
        shape = PhasesShape(settings.phases, classes, self._phase)
        several = len(classes) > 1
        picks = several or settings.shaped
        self._shape = shape
        named: dict[str, Any] = {one.__name__: one for one in classes}
        self.environment = Environment(
            user_classes=classes,
            events=Events(),
            locustfile=settings.scenario,
            parsed_options=self._options,
            stop_timeout=settings.stop_timeout_s,
            available_user_classes=named if picks else None,
            available_user_tasks={one.__name__: list(one.tasks) for one in classes} if picks else None,
            available_shape_classes={PhasesShape.title: shape} if picks else None,
        )
        self.runner = self.environment.create_master_runner(settings.bind_host, settings.bind_port)
        shape.runner = self.runner
        events = self.environment.events
        events.test_start.add_listener(self._on_start)
        events.test_stop.add_listener(self._on_stop)
        events.worker_report.add_listener(self._on_report)
        events.worker_connect.add_listener(self._on_connect)
        for kind, listener in ((HELLO, self._on_hello), (CLOCK, self._on_clock), (RECORDS, self._on_records)):
            self.runner.register_message(kind, listener)
        self.runner.register_message(END, self._on_end)
        self.web_ui = None
        if settings.web is not None:
            web = WebSettings(**settings.web)
            self.web_ui = open_web_ui(self.environment, web, self._pages, class_picker=picks, live=self._live)
        events.init.fire(environment=self.environment, runner=self.runner, web_ui=self.web_ui)

    def serve(self) -> None:
        """Run until told to quit, or until the one who started us is gone."""
        gevent.spawn(locust.stats.stats_history, self.runner)
        say("ready", port=self.runner.server.port, web=None if self.web_ui is None else self.web_ui.port)
        if self._settings.headless:
            gevent.spawn(self._headless)
        for line in gevent.fileobject.FileObject(sys.stdin.fileno(), "rb", closefd=False):
            order = json.loads(line)
            match order["do"]:
                case "open":
                    self._opened.set(order["records"])
                case "snapshot" if order["run"] == self._pages.run:
                    self._pages.snapshot = order["snapshot"]
                case "report" if order["run"] == self._pages.run:
                    self._pages.report = order
                case "stop":
                    gevent.spawn(self._stop_and_quit)
        self._stop_and_quit()

    def _stop_and_quit(self) -> None:
        self.runner.stop()
        self.runner.quit()
        if self.web_ui is not None:
            self.web_ui.stop()
        say("quit")
        os._exit(0)  # greenlets of the web server may wait for browsers that never leave

    def _headless(self) -> None:
        """Wait for the workers, run once, quit."""
        settings = self._settings
        while len(self.runner.clients.ready) < settings.expect_workers:
            gevent.sleep(POLL_S)
        if settings.users:
            gevent.spawn(self.runner.start, settings.users, settings.spawn_rate)  # it returns when all have come
        else:
            self.environment.shape_class = self._shape
            self.runner.start_shape()
        ends_ns: int | None = None
        began = False
        while not (began and self.runner.state in ("stopping", "stopped")):
            gevent.sleep(POLL_S)
            began = began or self.runner.state in ("spawning", "running")
            if ends_ns is None and self._run is not None and settings.run_time_s is not None:
                ends_ns = _clock.now_ns() + settings.run_time_s * NS_PER_S  # from the first users on
            if (ends_ns is not None and _clock.now_ns() >= ends_ns) or self._enough():
                self.runner.stop()
        while self._run is not None:
            gevent.sleep(POLL_S)
        self._stop_and_quit()

    def _enough(self) -> bool:
        """Every target has got the streams that the scenario asks for."""
        wanted = self._settings.streams
        if wanted is None or self._run is None:
            return False
        done: dict[str, int] = {}
        for part in self._run.participants.values():
            for target, facts in part.live.get("targets", {}).items():
                done[target] = done.get(target, 0) + facts["judged"]
        return bool(done) and min(done.get(target, 0) for target in self._settings.classes) >= wanted

    # Runs

    def _phase(self, index: int) -> None:
        self._options.__dict__[OURS] = {**getattr(self._options, OURS), "phase": index}

    def _on_start(self, environment: Environment, **_: Any) -> None:
        """Before the first spawn order: have the records file opened, and name the run to the workers."""
        # The page that has pressed Start asks for the state while we wait, and must not hear that nothing goes on.
        self.runner.update_state("spawning")
        run_id = secrets.token_hex(4)
        self._opened = gevent.event.AsyncResult()
        say("start", run=run_id)
        records = self._opened.get(timeout=ANSWER_TIMEOUT_S)
        self._options.__dict__[OURS] = {**getattr(self._options, OURS), "run": run_id}
        self._run = Run(run_id, Path(records))
        self._pages.begin(run_id)
        for client in [*self.runner.clients.ready, *self.runner.clients.running, *self.runner.clients.spawning]:
            self._run.join(client.id, self._name(client.id), late=False)

    def _on_stop(self, environment: Environment, **_: Any) -> None:
        """After the last user has gone: wait for the workers' ends, then hand the run over."""
        run = self._run
        if run is None:
            return
        waiting_until_ns = _clock.now_ns() + int(ENDS_TIMEOUT_S * NS_PER_S)
        while not run.complete and _clock.now_ns() < waiting_until_ns and self._anyone_left(run):
            gevent.sleep(POLL_S)
        for part in run.participants.values():
            part.lost = not part.ended
        self._run, self._last = None, run
        run.close()
        self._pages.end()
        say("end", run=run.id, workers=[part.to_json() for part in run.participants.values()])

    def _anyone_left(self, run: Run) -> bool:
        """Whether somebody whose end is missing is still heard of."""
        missing = {client.id for client in self.runner.clients.missing}
        return any(not part.ended and client_id not in missing for client_id, part in run.participants.items())

    # Messages

    def _name(self, client_id: str) -> str:
        return self._names.get(client_id, client_id)

    def _still_ready(self) -> None:
        """Locust takes a master that hears from somebody who is not yet its worker for one whose run has ended."""
        if self._pages.run is None and self.runner.state == "stopped":
            self.runner.update_state("ready")

    def _on_hello(self, environment: Environment, msg: Any, **_: Any) -> None:
        gevent.spawn(self._still_ready)
        settings, said = self._settings, msg.data
        if said["scenario"] != settings.scenario_hash or said["version"] != settings.version:
            what = "scenario" if said["scenario"] != settings.scenario_hash else "version of streambench"
            reason = f"the worker on {said['host']} has another {what} than the master: give both the same"
            logging.getLogger("streambench").warning(reason)
            say("refused", reason=reason)
            self.runner.send_message(REFUSED, {"reason": reason}, client_id=msg.node_id)
            return
        same = said["boot_id"] is not None and said["boot_id"] == boot_id()
        index = self.runner.get_worker_index(msg.node_id)
        self._names[msg.node_id] = f"{said['host']}/{index}"
        answer = {"urls": settings.urls, "name": self._names[msg.node_id], "same_host": same}
        self.runner.send_message(WELCOME, answer, client_id=msg.node_id)

    def _on_connect(self, client_id: str, **_: Any) -> None:
        """A worker is ready; it says so again after each run."""
        if client_id not in self._joined:
            self._joined.add(client_id)
            say("worker", name=self._name(client_id))

    def _on_clock(self, environment: Environment, msg: Any, **_: Any) -> None:
        gevent.spawn(self._still_ready)
        answer = {"asked_ns": msg.data["asked_ns"], "now_ns": _clock.now_ns(), "boot_id": boot_id()}
        self.runner.send_message(CLOCK, answer, client_id=msg.node_id)

    def _on_records(self, environment: Environment, msg: Any, **_: Any) -> None:
        if self._run is not None and msg.data["run"] == self._run.id:
            name = self._name(msg.node_id)
            self._run.records(msg.node_id, name, msg.data["count"], msg.data["lines"])

    def _on_end(self, environment: Environment, msg: Any, **_: Any) -> None:
        if self._run is not None and msg.data["run"] == self._run.id:
            self._run.end(msg.node_id, self._name(msg.node_id), msg.data["count"], msg.data["facts"])

    def _on_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        ours = data.get(OURS)
        if ours is not None and self._run is not None and ours["run"] == self._run.id:
            self._run.join(client_id, self._name(client_id), late=True).live = ours

    def _live(self) -> dict[str, Any]:
        """The workers' part of a snapshot: who is there, and how each is doing."""
        states = {client.id: client for client in self.runner.clients.values()}
        run = self._run or self._last
        parts = {} if run is None else run.participants
        workers = []
        for client_id in {**dict.fromkeys(parts), **dict.fromkeys(states)}:
            client, part = states.get(client_id), parts.get(client_id)
            workers.append(
                {
                    "name": self._name(client_id),
                    "state": "gone" if client is None else client.state,
                    "lost": part is not None and (part.lost or (client is not None and client.state == "missing")),
                    "users": 0 if client is None else client.user_count,
                    "late": part is not None and part.late,
                    **({} if part is None else part.live.get("generator", {})),
                }
            )
        active: dict[str, int] = {}
        for part in parts.values():
            for target, facts in part.live.get("targets", {}).items():
                active[target] = active.get(target, 0) + facts["active"]
        return {"state": self.runner.state, "users": self.runner.user_count, "workers": workers, "active": active}


def behaviour(name: str, where: str) -> type[User]:
    """A user class for Locust to count and to pick; its users live in the workers."""

    def stream(_: User) -> None:
        """Never called: the master has no users of its own."""

    stream.__name__ = "stream"
    return type(name, (User,), {"stream": task(stream), "host": where, "abstract": False})


def say(event: str, **facts: Any) -> None:
    """One line to the one who started us."""
    line = json.dumps({"event": event, **facts}).encode() + b"\n"
    while line:
        line = line[os.write(1, line) :]


def main() -> None:
    """Read the settings from the first line of standard input, and serve."""
    sys.argv = ["locust"]  # the web UI looks into it for arguments of its own
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    with open(0, "rb", buffering=0, closefd=False) as first:
        settings = MasterSettings(**json.loads(first.readline()))
    try:
        master = Master(settings)
    except SystemExit:
        say("failed", reason=f"the port {settings.bind_port} is in use: choose another with --master-bind-port")
        os._exit(1)
    master.serve()


if __name__ == "__main__":
    main()
