"""Job control by a process of the job, over two nodes and with both libraries."""

from __future__ import annotations

import sys

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix

CLIENT = CLIENTS / "controller.py"

pytestmark = [pytest.mark.pmix, pytest.mark.parametrize("version", VERSIONS)]


def library(version: str) -> list[str]:
    path = libpmix(version)
    return ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]


def test_processes_are_terminated_paused_resumed_signalled_and_killed(job: Launch, version: str) -> None:
    result = job.run("-N2", "-n4", "-o", "exit-timeout=none", *library(version), sys.executable, CLIENT, code=137)
    assert result.out.splitlines() == [
        "JOB_CTRL_TERMINATE 1 done",
        "JOB_CTRL_PAUSE JOB_CTRL_ID 2 done pausing",
        "JOB_CTRL_SIGNAL 2 done",
        "JOB_CTRL_RESUME 2 done",
        "JOB_CTRL_KILL 3 done",
        "JOB_CTRL_SIGNAL 3 PMIX_ERR_NOT_FOUND",
        "JOB_CTRL_KILL 9 PMIX_ERR_NOT_FOUND",
        "JOB_CTRL_KILL 0 PMIX_ERR_NOT_FOUND",
        "JOB_CTRL_SIGNAL 2 PMIX_ERR_BAD_PARAM",
        "JOB_CTRL_RESTART 2 PMIX_ERR_NOT_FOUND",
    ]
    assert "cannot be restarted: it has no checkpoint '1'" in result.err
    assert "task 3 was killed by SIGKILL" in result.err


def test_a_process_can_kill_its_whole_job(job: Launch, version: str) -> None:
    result = job.run("-N2", "-n4", *library(version), sys.executable, CLIENT, "all", code=137)
    assert "tasks 0-3 were killed by SIGKILL" in result.err
