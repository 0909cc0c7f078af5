"""Whoever is killed (SIGKILL) of a job that has spawned and is read by a tool: nothing is left behind.

The fixture `job` looks for processes, files, directories, sockets in them and shared memory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from launching import CLIENTS, Launch

pytestmark = pytest.mark.pmix
CLIENT = (sys.executable, CLIENTS / "spawns.py")


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Running:
    """A job of two ranks on two nodes, each with two spawned processes that sleep, and a tool that reads."""

    def __init__(self, job: Launch) -> None:
        self.launcher = job.start("-N2", "-n2", "-o", "exit-timeout=1s", *CLIENT, "wait", stdout=subprocess.DEVNULL)
        job.until(lambda: len(self.find(job, "spawns.py sleep")) == 4, "nobody sleeps")
        self.tool = subprocess.Popen(
            [sys.executable, "-m", "fluxpmix.cli.main", "output"],
            env=job.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        job.children.append(self.tool)
        self.ranks = self.find(job, "spawns.py wait")
        self.sleepers = self.find(job, "spawns.py sleep")
        maps = Path(f"/proc/{self.tool.pid}/maps")
        job.until(lambda: "libpmix.so" in maps.read_text(), "the tool does not come up")
        assert [*job.tmpdir.rglob("pmix.*.tool")], "there is something to be left behind"

    @staticmethod
    def find(job: Launch, words: str) -> list[int]:
        """The tasks whose command ends so, but not the launcher and its shells, which have it in theirs."""
        return sorted(pid for pid, line in job.processes().items() if words in line and "cli.main" not in line)


# Who is killed, and what the launcher then ends with; None: it goes on.
VICTIMS: dict[str, tuple[Callable[[Running], int], int | None]] = {
    "launcher": (lambda it: it.launcher.pid, -signal.SIGKILL),
    "first shell": (lambda it: parent(it.ranks[0]), 1),
    "other shell": (lambda it: parent(it.ranks[1]), 1),
    "rank": (lambda it: it.ranks[1], 137),
    "spawned": (lambda it: it.sleepers[0], 137),
    "tool": (lambda it: it.tool.pid, None),
}


@pytest.mark.parametrize("victim", VICTIMS)
def test_nothing_is_left_behind(job: Launch, victim: str) -> None:
    running = Running(job)
    find, code = VICTIMS[victim]
    os.kill(find(running), signal.SIGKILL)
    if code is None:
        running.tool.wait(timeout=30)
        assert running.find(job, "spawns.py wait") == running.ranks
        running.launcher.terminate()
    job.finish(running.launcher, 143 if code is None else code)
    running.tool.wait(timeout=30)
