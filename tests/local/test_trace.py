"""`flux-pmix run --trace` and `flux-pmix trace`: what is written is true, and the page draws it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from launching import CLIENTS, Launch

from fluxpmix.cli.trace import reading

pytestmark = pytest.mark.pmix

SLOW = """
import sys, time
from fluxpmix import Client, Scope
with Client() as client:
    client.put(Scope.GLOBAL, "key", bytes(1000))
    client.commit()
    if client.proc.rank == 2: time.sleep(0.3)
    client.fence(collect=True)
    client.fence()
"""


def flux_pmix(job: Launch, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "fluxpmix.cli.main", *words],
        env=job.environment(),
        cwd=job.directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done
    return done


def traced(job: Launch, *words: Any) -> Path:
    job.run("--trace", "trace.json", *words)
    return job.directory / "trace.json"


def test_each_fence_has_its_slowest_rank_and_its_bytes(job: Launch) -> None:
    trace = reading.read(str(traced(job, "-N3", "-n3", sys.executable, "-c", SLOW)))
    data, barrier = reading.fences(trace)
    assert (data.collect, barrier.collect) == (True, False)
    assert sorted(data.came) == sorted(barrier.came) == [0, 1, 2]
    assert data.last == 2 and reading.ranks(trace, 2) == "2"
    assert data.waiting > 250 > data.exchange
    assert 3000 < data.bytes < 3600 and data.result == data.bytes
    assert barrier.bytes <= 3 * 16


def test_a_launch_is_told_step_by_step_in_every_shell(job: Launch) -> None:
    trace = reading.read(str(traced(job, "-N2", "-n4", sys.executable, CLIENTS / "fence.py")))
    steps = {name: [span.shell for span in spans] for name, spans in reading.steps(trace)}
    assert steps["Python, imports, options"] == steps["job"] == [-1]
    for name in ("start of the shell", "PMIx server init", "registration", "register_nspace", "setup_local_support"):
        assert sorted(steps[name]) == [0, 1], name
    assert steps["setup_application"] == [0]
    assert sorted(steps["start task"]) == sorted(steps["a task until PMIx_Init"]) == [0, 0, 1, 1]
    by_name = {(span.shell, span.name): span for span in trace.spans}
    inner, outer = by_name[0, "register_nspace"], by_name[0, "registration"]
    assert outer.begin <= inner.begin <= inner.end <= outer.end
    # One clock: nothing of a shell lies outside the job, which the launcher has measured.
    job_span = by_name[-1, "job"]
    assert all(job_span.begin <= span.begin <= span.end <= job_span.end for span in trace.requests)
    assert {reading.ranks(trace, shell) for shell in (0, 1)} == {"0-1", "2-3"}


def test_direct_modex_is_seen_at_both_ends(job: Launch) -> None:
    trace = reading.read(str(traced(job, "-N2", "-n2", sys.executable, CLIENTS / "dmodex.py", "everybody")))
    found = [span for span in trace.requests if span.name in ("DirectModex", "modex for another shell")]
    assert {span.name for span in found} == {"DirectModex", "modex for another shell"}
    assert any(span.facts.get("bytes", 0) > 0 for span in found)
    assert any(count > 0 for _, _, count, _ in trace.messages)


def test_the_file_is_chromes_format(job: Launch) -> None:
    content = json.loads(traced(job, "-n2", sys.executable, CLIENTS / "fence.py").read_bytes())
    begun = [event["id"] for event in content["traceEvents"] if event["ph"] == "b"]
    assert sorted(begun) == sorted(event["id"] for event in content["traceEvents"] if event["ph"] == "e")
    for event in content["traceEvents"]:
        assert {"ph", "name", "pid", "tid"} <= event.keys()
        assert event["ph"] in "XbeiM" and ("ts" in event) == (event["ph"] != "M")


@pytest.mark.parametrize("name", ["nowhere/trace.json", "."])
def test_a_trace_that_cannot_be_written_is_an_error_before_any_work(job: Launch, name: str) -> None:
    done = job.run("--trace", name, "touch", "ran", code=1)
    assert re.fullmatch(rf"flux-pmix: error: --trace '{name}': [^\n]+; name a file that can be written\n", done.err)
    assert not (job.directory / "ran").exists()


def test_the_command_prints_tables_and_says_what_it_cannot_read(job: Launch) -> None:
    traced(job, "-N2", "-n2", sys.executable, CLIENTS / "fence.py")
    out = flux_pmix(job, "trace", "trace.json").stdout
    assert re.search(r"^  PMIx server init +2 ", out, re.M)
    assert re.search(r"^  \S+:\* #3 +data ", out, re.M)
    assert "The slowest 1 of 4 fences" in flux_pmix(job, "trace", "--fences", "1", "trace.json").stdout
    (job.directory / "other").write_text('{"traceEvents": []}')
    for words, why in (
        (["nosuch"], "nosuch: No such file"),
        (["other"], "other: another program made it"),
        ([sys.executable], "it is no JSON"),
        (["trace.json", "--html", "nowhere/x"], "--html nowhere/x: No such file"),
    ):
        err = flux_pmix(job, "trace", *words, code=1).stderr
        assert why in err and err.count("\n") == 1
    flux_pmix(job, "trace", code=2)


@pytest.mark.chromium
def test_a_browser_draws_the_page(job: Launch, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium")
    traced(job, "-N2", "-n4", sys.executable, CLIENTS / "fence.py")
    flux_pmix(job, "trace", "trace.json", "--html", "page.html")
    words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
    words += ["--enable-logging=stderr", "--dump-dom", (job.directory / "page.html").as_uri()]
    done = subprocess.run([browser, *words], capture_output=True, text=True, timeout=100, check=True)
    shown = re.search(r'data-painted="(\d+)"', done.stdout)
    assert shown and int(shown[1]) > 20
    assert "Uncaught" not in done.stderr and "SyntaxError" not in done.stderr
    assert "http" not in re.sub(r"<canvas[^>]*>", "", (job.directory / "page.html").read_text())
    assert re.search(r"<td>PMIx server init</td><td>2</td>", done.stdout)
