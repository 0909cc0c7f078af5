"""Tools that pull the output of real Flux jobs and read it slowly, or not at all: only they miss something."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from instance import PATIENCE, Instance
from test_flux_input import MIB
from test_flux_own_output import spawn
from test_flux_tools import flux_pmix

pytestmark = pytest.mark.flux
LINES, WIDTH = 3200, 8000  # 26 MB: more than any buffer that a tool has
FLOOD = f"yes $(printf %0{WIDTH - 1}d 0) | head -n {LINES}"


def phases(directory: Path, meanwhile: str = ":") -> str:
    """A task that says `first`, prints a lot when it may, and the last word when it may."""
    wait = "while ! test -e {}/{}; do sleep 0.1; {}; done"
    flood, end = wait.format(directory, "flood", ":"), wait.format(directory, "end", meanwhile)
    return f"echo first; {flood}; {FLOOD}; touch {directory}/printed; {end}; echo last"


def follow(two: Instance, out: Path, job: str) -> subprocess.Popen[str]:
    """Start a tool that writes what it pulls to a file, and wait until it gets some."""
    with out.open("w") as file:
        tool = subprocess.Popen(
            [sys.executable, "-m", "fluxpmix.cli.main", "output", "--stdout", job],
            env=two.job_environment(),
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
        )
    two.children.append(tool)
    two.until(lambda: out.read_text().startswith("first"), "the tool gets nothing")
    return tool


def resident(pid: int) -> int:
    """The bytes that a process has in memory."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s*(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0


@pytest.mark.parametrize("where", ["own", "spawned"])
def test_a_tool_that_stops_and_is_killed_does_not_matter(two: Instance, where: str, tmp_path: Path) -> None:
    text = phases(tmp_path, "echo tick")
    task = ("sh", "-c", text) if where == "own" else spawn(text, 1)
    child = two.start("-n1", "-o", "pmix.oversubscribe=on", *task)
    job = two.until(lambda: two.flux("jobs", "-n", "-o", "{id}"), "it does not run")
    wanted = job if where == "own" else f"{job}.1"
    two.until(lambda: "1 running" in flux_pmix(two, "ps", wanted).stdout, "the task does not run")
    tool = follow(two, tmp_path / "tool", wanted)
    tool.send_signal(signal.SIGSTOP)
    (tmp_path / "flood").touch()
    two.until((tmp_path / "printed").exists, "it does not print")
    tool.kill()
    tool.communicate()
    two.children.remove(tool)
    with (tmp_path / "other").open("w") as file:
        words = [sys.executable, "-m", "fluxpmix.cli.main", "output", "--stdout", wanted]
        other = subprocess.Popen(words, env=two.job_environment(), stdout=file)
    two.until(lambda: (tmp_path / "other").stat().st_size, "the other tool gets nothing")
    (tmp_path / "end").touch()
    assert two.finish(child).out.replace("tick\n", "").count("0") == LINES * (WIDTH - 1)
    assert other.wait(PATIENCE) == 0
    text = (tmp_path / "other").read_text()
    assert text.endswith("last\n") and "dropped" not in text, "what the first has missed is not the other's affair"


def test_much_output_of_spawned_tasks_takes_no_more_memory(two: Instance, tmp_path: Path) -> None:
    child = two.start("-n1", "-o", "pmix.oversubscribe=on", *spawn(phases(tmp_path), 2))
    job = two.until(lambda: two.flux("jobs", "-n", "-o", "{id}"), "it does not run")
    two.until(lambda: "2 running" in flux_pmix(two, "ps", f"{job}.1").stdout, "the task does not run")
    tool = follow(two, tmp_path / "tool", f"{job}.1")
    (shell,) = two.shells().values()
    before = resident(shell)
    (tmp_path / "flood").touch()
    (tmp_path / "end").touch()
    most = before
    while child.poll() is None and two.shells():
        try:
            most = max(most, resident(shell))
        except OSError:
            break
        time.sleep(0.05)
    two.finish(child)
    tool.kill()
    assert most - before < LINES * WIDTH + 16 * MIB, "it grows with the output, which is twice as much"
