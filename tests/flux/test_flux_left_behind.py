"""Whoever is killed (SIGKILL) of a job of real Flux that has spawned and is read by a tool: nothing is left behind.

After each test `Instance.check` looks for shells, tasks, helpers, job directories and shared memory. What only Flux
could remove behind a shell that was killed is named here: its job's directory, and its own tasks.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from instance import CLIENTS, PATIENCE, Instance

pytestmark = pytest.mark.flux
CLIENT = (sys.executable, CLIENTS / "spawns.py")


class Running:
    """A job of two ranks under two shells, each with two spawned processes that sleep, and a tool that reads."""

    def __init__(self, two: Instance) -> None:
        self.two = two
        words = ("-o", "pmix.oversubscribe=on", "-o", "exit-timeout=1s")
        self.run = two.start("-N2", "-n2", *words, *CLIENT, "wait")
        two.until(lambda: len(self.find("spawns.py sleep")) == 4, "nobody sleeps")
        self.job = two.flux("job", "last")
        self.tool = subprocess.Popen(
            [sys.executable, "-m", "fluxpmix.cli.main", "output", "-l", f"{self.job}.1"],
            env=two.job_environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        two.children.append(self.tool)
        assert self.tool.stdout is not None
        assert "child sleeps" in self.tool.stdout.readline()

    def find(self, words: str) -> list[int]:
        """The processes whose command has these words in it, oldest first."""
        return sorted(pid for pid, line in self.two.started().items() if words in line)

    def rank(self, rank: int) -> int:
        """The process of a rank."""
        (pid,) = [pid for pid in self.find("spawns.py wait") if f"FLUX_TASK_RANK={rank}" in self.environment(pid)]
        return pid

    def helper(self, shell: int) -> int:
        """The helper beside a shell that started the spawned processes there."""
        uri = self.two.uri.removesuffix("local-0") + f"local-{shell}"
        (pid,) = [pid for pid in self.find("shell.flux.starter") if f"FLUX_URI={uri}" in self.environment(pid)]
        return pid

    @staticmethod
    def environment(pid: int) -> list[str]:
        with open(f"/proc/{pid}/environ") as file:
            return file.read().split("\0")

    def end(self) -> int:
        """Wait for flux run and the tool to end by themselves; return how flux run did."""
        self.run.communicate(timeout=PATIENCE)
        self.tool.communicate(timeout=PATIENCE)
        for child in (self.run, self.tool):
            self.two.children.remove(child)
        return int(self.run.returncode)


def test_a_rank(two: Instance) -> None:
    running = Running(two)
    os.kill(running.rank(1), signal.SIGKILL)
    assert running.end() == 137


def test_a_spawned_process(two: Instance) -> None:
    running = Running(two)
    os.kill(running.find("spawns.py sleep")[0], signal.SIGKILL)
    assert running.end() == 137


@pytest.mark.parametrize("shell", [0, 1])
def test_the_helper_beside_a_shell(two: Instance, shell: int) -> None:
    running = Running(two)
    os.kill(running.helper(shell), signal.SIGKILL)
    assert running.end() == 137


def test_a_tool(two: Instance) -> None:
    running = Running(two)
    running.tool.kill()
    running.tool.wait(PATIENCE)
    assert len(running.find("spawns.py")) == 6
    two.flux("cancel", running.job)
    assert running.end() == 143


def test_flux_run(two: Instance) -> None:
    """It only shows the job, which goes on without it."""
    running = Running(two)
    running.run.kill()
    running.run.wait(PATIENCE)
    assert len(running.find("spawns.py")) == 6
    two.flux("cancel", running.job)
    assert running.end() == -signal.SIGKILL


@pytest.mark.parametrize("shell", [0, 1])
def test_a_shell(two: Instance, shell: int) -> None:
    running = Running(two)
    own = running.rank(shell)
    os.kill(two.shells()[shell], signal.SIGKILL)
    assert running.end()
    two.until(lambda: not two.shells(), "shells are left")
    two.until(lambda: [*two.started()] in ([own], []), f"more than its own task is left: {two.started()}")
    assert len(two.leftovers()) == 1
    two.clean_up_after_a_killed_shell()
