"""Runs from Locust's own web UI in a real browser, against the real master, with real workers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from streambench.report.wording import figure

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
FAST = "fast.yaml"
SOUND = (0, 4)  # 4 where the machine was too busy to measure on
MINORS = ("2.46", "2.45")  # beside the one that is installed, which is the newest


def table(page: Any, name: str) -> list[list[str]]:
    """The cells of a table of the page."""
    rows = f"[...document.querySelectorAll('#table-{name} tbody tr')]"
    cells: list[list[str]] = page.run(f"{rows}.map(row => [...row.children].map(cell => cell.textContent))")
    return cells


def equals_the_summary(page: Any, summary: dict[str, Any]) -> None:
    """Every figure on the page is the summary's, to the last digit shown."""
    (target,) = summary["targets"].values()
    figures = {re.sub(r" \(.*", "", row[0]): row[1:] for row in table(page, "figures") if len(row) > 1}
    assert set(figures) == set(target["metrics"])
    for name, metric in target["metrics"].items():
        wanted = [figure(metric[key], metric["unit"]).removesuffix(" ms").removesuffix(" per s")
                  for key in ("p50", "p90", "p95", "p99", "max")]  # fmt: skip
        assert figures[name] == [f"{metric['n']:,}", *wanted], name
    named = target["milestones"]
    assert [row[1:3] for row in table(page, "milestones")] == [
        [name, f"{told['reached']} of {told['of']}"] for name, told in named.items()
    ]
    (row,) = table(page, "targets")
    assert row[1] == target["authenticity"]["verdict"]
    outcomes = ("completed", "failed", "dropped", "left", "censored")
    assert row[3:8] == [str(target["streams"][key]) for key in outcomes]


def test_a_run_is_started_changed_stopped_and_started_again(
    locust: Callable[..., Any], page: Any, tmp_path: Path
) -> None:
    one_session(locust(FAST), page, tmp_path)


@pytest.mark.locusts
@pytest.mark.parametrize("version", MINORS)
def test_the_minors_before_this_one_serve_as_well(
    locust: Callable[..., Any], page: Any, tmp_path: Path, version: str
) -> None:
    older = tmp_path / "older"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(older)]
    subprocess.run([*install, f"locust=={version}.*"], check=True)
    (metadata,) = older.glob("locust-*.dist-info")
    path = os.pathsep.join([str(older), *filter(None, [os.environ.get("PYTHONPATH")])])
    ui = locust(FAST, environ={"PYTHONPATH": path})
    one_session(ui, page, tmp_path)
    assert f"-{version}." in metadata.name


def one_session(ui: Any, page: Any, tmp_path: Path) -> None:
    """Two runs in the browser, and everything that is shown of the first one."""
    ui.workers(1)
    page.go(ui.url)
    page.type("userCount", "2")
    page.click("Start")
    page.until("document.body.innerText.includes('RUNNING')")
    page.until("[...document.querySelectorAll('td')].some(cell => cell.textContent === 'TTFC')")
    ui.until(lambda live: live["now"]["users"] == 2)  # one of them may have been the first to finish a stream

    page.click("Edit")
    page.type("userCount", "6")
    page.click("Update")
    page.until("document.body.innerText.match(/USERS\\s+6/i) !== null")

    page.click("Streaming")
    page.until("!!document.querySelector('iframe')?.contentDocument?.querySelector('#table-targets tbody tr')")
    page.picture(tmp_path / "tab.png")
    # The page in the frame follows the run by itself.
    done = (
        "Number(document.querySelector('iframe').contentDocument.querySelectorAll('#table-targets td')[3].textContent)"
    )
    before = page.until(f"{done} + 1") - 1
    page.until(f"{done} > {before}")

    page.click("Stop")
    page.until("document.querySelector('iframe').contentDocument.querySelector('#report').href.endsWith('report')")
    (first,) = ui.summaries()
    page.go(f"{ui.url}/streambench")
    page.until("['passed', 'invalid', 'inconclusive'].includes(document.querySelector('#state').textContent)")
    equals_the_summary(page, first)
    told = page.run("document.querySelector('#notice').textContent")
    assert ("not valid" in told) is not first["generator"]["valid"]
    report = page.run("fetch(document.querySelector('#report').href).then(answer => answer.text())")
    assert report == (tmp_path / "reports/fast/latest/report.html").read_text()
    for dark in (False, True):
        page.picture(tmp_path / f"live-{dark}.png", dark=dark)

    page.go(ui.url)
    page.until("document.body.innerText.includes('TTFC')")
    rows = httpx.get(f"{ui.url}/stats/requests", trust_env=False).json()["stats"]
    shown = {row["method"]: row for row in rows}
    (target,) = first["targets"].values()
    beside = (("TTFC", "ttfc"), ("GAP MAX", "gap_max"), ("milestone.answered", "milestone.answered"))
    for method, metric in (("SSE openai-chat", "e2e"), *beside):
        exact = target["metrics"][metric]
        row = shown[method]
        assert row["num_requests"] == exact["n"]
        for key, quantile in (("median_response_time", "p50"), ("response_time_percentile_0.99", "p99")):
            assert figure(row[key], "ms") == figure(exact[quantile], "ms")
    assert shown[""]["num_requests"] == target["streams"]["completed"]  # the rows beside leave the total alone

    page.click("New")
    page.type("userCount", "1")
    page.click("Start")
    page.until("document.body.innerText.includes('RUNNING')")
    ui.wait_for(5)
    ui.stop()
    assert len(ui.summaries()) == 2
    assert ui.end() in SOUND
    assert not page.complaints
    assert all(url.startswith((ui.url, "data:")) for url in page.requested)


# The page asks as ever and is answered in the page: as by a run that goes on, with more of everything each time.
NIGHT = """
(async () => {
  const seen = await (await fetch("./streambench/live.json")).json();
  let turn = 0;
  window.fetch = async () => {
    turn += 1;
    const state = structuredClone(seen);
    state.live.seconds = turn;
    for (const target of Object.values(state.live.targets)) {
      target.streams.completed += turn;
      const last = target.series.filter((point) => point.ttfc && point.gap).at(-1);
      target.series = Array.from({ length: Math.min(turn, 240) }, (_, t) => ({
        ...last, t, rate: (t * turn) % 97, ttfc: last.ttfc.map((ms) => ms + (t * turn) % 31) }));
      target.newest.id = `fast/${turn}`;
      target.errors = { [`error ${turn}`]: turn };
      for (const metric of Object.values(target.metrics)) metric.n += turn;
    }
    return new Response(JSON.stringify(state), { headers: { "Content-Type": "application/json" } });
  };
  return true;
})()
"""


@pytest.mark.parametrize("refreshes", [500, pytest.param(3_000, marks=(pytest.mark.locusts, pytest.mark.timeout(600)))])
def test_the_page_keeps_nothing_of_what_it_has_shown(crew: Any, page: Any, refreshes: int) -> None:
    """A refresh a second is what a browser does that stays open; here they follow each other at once."""
    ui = crew
    ui.start(3)
    ui.wait_for(3)
    page.go(f"{ui.url}/streambench")
    page.until("!!document.querySelector('#table-targets tbody tr')")
    ui.stop()

    def held() -> dict[str, float]:
        for _ in range(2):
            page.call("HeapProfiler.collectGarbage")
        names = ("Nodes", "JSEventListeners", "JSHeapUsedSize")
        return {m["name"]: m["value"] for m in page.call("Performance.getMetrics")["metrics"] if m["name"] in names}

    def refresh(times: int) -> dict[str, float]:
        for _ in range(times // 100):  # each call is answered in time, and the page is drawn in between
            page.run("(async () => { for (let i = 0; i < 100; i++) await refresh(); })()")
        assert "No news" not in page.run("document.querySelector('#notice').textContent")
        return held()

    page.call("Performance.enable")
    page.run(NIGHT)
    before = refresh(300)  # as many points as there can be
    after = refresh(refreshes)
    print(f"held before {before}, after {refreshes:,} refreshes {after}")
    assert after["Nodes"] < before["Nodes"] * 3 + refreshes  # what was replaced last may still be there
    assert after["JSEventListeners"] <= before["JSEventListeners"] + 5
    assert after["JSHeapUsedSize"] < before["JSHeapUsedSize"] + 1e3 * refreshes


def test_nobody_else_gets_in(crew: Any) -> None:
    ui = crew
    assert httpx.get(ui.url, headers={"Host": "evil.example"}, trust_env=False).status_code == 403
    foreign = httpx.post(f"{ui.url}/stop", headers={"Origin": "http://evil.example"}, trust_env=False)
    assert foreign.status_code == 403
    fetched = httpx.get(f"{ui.url}/stop", headers={"Sec-Fetch-Site": "cross-site"}, trust_env=False)
    assert fetched.status_code == 403
    answer = httpx.get(f"{ui.url}/streambench/live.json", headers={"Origin": "http://evil.example"}, trust_env=False)
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert not ui.post("/swarm", user_count=1, spawn_rate=1, host="http://elsewhere.example")["success"]


def test_a_login_over_tls_keeps_every_page_and_the_secret_shows_nowhere(
    locust: Callable[..., Any], page: Any, tmp_path: Path, component: Callable[[str], str]
) -> None:
    (tmp_path / "secret.yaml").write_text(
        "name: secret\nserve: {openai: {}}\ntarget:\n  dialect: openai-chat\n"
        '  url: "${serve.openai}/v1/chat/completions?key=${API_KEY}"\n  auth: {bearer: "${API_KEY}"}\n'
        "prompts: {text: 'Say ${API_KEY}', tokens: 5, profile: {name: fixed, ttft_ms: 5, gap_ms: 2}}\n"
        "load: {users: 1, streams: 5}\n"
    )
    secret, password = "sk-very-secret-0815", "correct horse"
    environ = {"API_KEY": secret, "STREAMBENCH_WEB_LOGIN": f"me:{password}"}
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    subprocess.run(
        [component("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    ui = locust("secret.yaml", "--web-login", "--tls-cert", certificate, "--tls-key", key, environ=environ)
    ui.workers(1)
    pages = ("/", "/streambench", "/streambench/live.json", "/streambench/report", "/stats/requests", "/logs", "/tasks")
    with httpx.Client(base_url=ui.url, trust_env=False, verify=False) as stranger:
        assert {stranger.get(path).status_code for path in pages} == {302}
        assert stranger.post("/swarm", data={"user_count": 1, "spawn_rate": 1}).status_code == 302
        wrong = stranger.post("/streambench/login", data={"username": "me", "password": "wrong"})
        assert wrong.headers["location"] == "/login"
        assert stranger.get("/").status_code == 302
    page.go(ui.url)
    page.type("username", "me")
    page.type("password", password)
    page.click("Login")
    page.until("!!document.querySelector('input[name=userCount]')")
    with httpx.Client(base_url=ui.url, trust_env=False, verify=False, timeout=60) as me:
        let_in = me.post("/streambench/login", data={"username": "me", "password": password})
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(let_in.headers["set-cookie"].split("; "))
        assert me.post("/swarm", data={"user_count": 2, "spawn_rate": 5}).json()["success"]
        while not me.get("/streambench/live.json").json()["live"].get("seconds"):
            pass
        me.post("/stop")
        while me.get("/streambench/live.json").json()["report"] is None:
            pass
        for path in (*pages, "/stats/report", "/exceptions", "/stats/requests/csv"):
            answer = me.get(path)
            assert answer.status_code == 200, path
            assert secret not in answer.text, path
            assert password not in answer.text, path
    assert ui.end() in SOUND
    for written in (tmp_path / "reports").rglob("*.*"):
        assert not written.is_file() or secret not in written.read_text(errors="replace"), written
    assert json.loads((tmp_path / "reports/secret/latest/summary.json").read_text())["verdict"] in ("passed", "invalid")
