"""Credentials, more time and kills by command, with real clients over two nodes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from installed import MONITORED, VERSIONS
from launching import CLIENTS, HEARTBEATS_SEEN, Launch, libpmix

pytestmark = pytest.mark.pmix
EACH = pytest.mark.parametrize("server", VERSIONS)
CLIENT = CLIENTS / "facilities.py"


def run(job: Launch, server: str, *words: str | Path, options: tuple[str, ...] = (), code: int = 0) -> list[str]:
    path = libpmix(server)
    both = ("-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}")
    return job.run("-N2", "-n2", *both, *options, sys.executable, CLIENT, *words, code=code).lines


@EACH
def test_a_credential_is_valid_on_another_node_and_a_forged_one_nowhere(job: Launch, server: str) -> None:
    lines = run(job, server, "credentials", "fluxpmix")
    assert lines == sorted(
        f"{rank} fluxpmix {text}" for rank in (0, 1) for text in ("True True", "PMIX_ERR_INVALID_CRED")
    )


@EACH
def test_munges_credential_is_made_where_it_runs_and_its_lack_is_said(job: Launch, server: str) -> None:
    lines = run(job, server, "credentials", "munge")
    runs = [f"{rank} munge {text}" for rank in (0, 1) for text in ("True True", "PMIX_ERR_INVALID_CRED")]
    assert lines in (sorted(runs), [f"{rank} munge PMIX_ERR_NOT_SUPPORTED" for rank in (0, 1)])


@EACH
def test_a_job_gets_more_time(job: Launch, server: str) -> None:
    assert run(job, server, "time", options=("-t", "60s")) == ["0 extended mine", "0 new PMIX_ERR_NOT_SUPPORTED"]


@pytest.mark.parametrize("server", MONITORED)
def test_a_file_that_nobody_writes_to_raises_an_alert_on_all_nodes(job: Launch, server: str, tmp_path: Path) -> None:
    path = tmp_path / "watched"
    path.touch()
    lines = run(job, server, "monitor", path)
    assert lines == ["0 alert True", "0 watched mine", "1 alert True"]


@pytest.mark.parametrize("server", MONITORED)
def test_heartbeats_that_stay_away_raise_the_event_that_was_asked_for(job: Launch, server: str) -> None:
    assert run(job, server, "heartbeats") == HEARTBEATS_SEEN


@EACH
def test_a_kill_by_command_is_told_as_one(job: Launch, server: str) -> None:
    lines = run(job, server, "kill", options=("-o", "exit-timeout=none"), code=137)
    assert lines == ["0 PMIX_ERR_PROC_KILLED_BY_CMD 1"]
