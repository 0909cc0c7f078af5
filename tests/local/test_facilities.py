"""Credentials, more time and kills by command, with real clients over two nodes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from installed import VERSIONS, number
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


def alerted(job: Launch, server: str, *words: str, options: tuple[str, ...]) -> list[str]:
    path = libpmix(server)
    both = ("-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}")
    return job.run("-N2", "-n4", *both, *options, sys.executable, CLIENTS / "alerted.py", *words).lines


@EACH
def test_every_process_hears_once_that_its_time_is_nearly_up_also_when_it_was_extended(
    job: Launch, server: str
) -> None:
    lines = alerted(job, server, "extend", "98", options=("-t", "100s", "-o", "pmix.alert=98s"))
    assert lines == [f"{rank} True 98" for rank in range(4)]


def test_the_alert_of_a_short_limit_comes_in_its_middle(job: Launch) -> None:
    lines = alerted(job, "4.2", "wait", options=("-t", "14s"))
    assert lines == [f"{rank} True 7" for rank in range(4)]


def test_open_mpi_does_not_mind_the_alert(job: Launch) -> None:
    pytest.importorskip("mpi4py")
    lines = alerted(job, "5.0", "mpi", "98", options=("-t", "100s", "-o", "pmix.alert=98s"))
    assert lines == [f"{rank} True 98 4" for rank in range(4)]


@pytest.mark.parametrize("server", [version for version in VERSIONS if number(version) >= (6, 1)])
def test_what_libpmix_6_itself_monitors_it_still_does(job: Launch, server: str) -> None:
    lines = run(job, server, "usage")
    texts = ("cancelled PMIX_ERR_NOT_FOUND", "far PMIX_ERR_NOT_SUPPORTED", "uses True")
    assert lines == [f"{rank} {text}" for rank in range(2) for text in texts]


@EACH
def test_a_file_that_nobody_writes_to_raises_an_alert_on_all_nodes(job: Launch, server: str, tmp_path: Path) -> None:
    path = tmp_path / "watched"
    path.touch()
    lines = run(job, server, "monitor", path)
    assert lines == ["0 alert True", "0 watched mine", "1 alert True"]


@EACH
def test_heartbeats_that_stay_away_raise_the_event_that_was_asked_for(job: Launch, server: str) -> None:
    assert run(job, server, "heartbeats") == HEARTBEATS_SEEN


@EACH
def test_a_kill_by_command_is_told_as_one(job: Launch, server: str) -> None:
    lines = run(job, server, "kill", options=("-o", "exit-timeout=none"), code=137)
    assert lines == ["0 PMIX_ERR_PROC_KILLED_BY_CMD 1"]


def test_the_signal_before_the_limit_comes_again_where_the_job_gets_more_time(job: Launch) -> None:
    extends = (
        "from fluxpmix.pmix import attributes as a\nfrom fluxpmix.pmix.client import Client\n"
        "with Client() as client: client.allocate(2, {a.ALLOC_TIME: '1s'})"
    )
    waits = "while [ $n -lt {} ]; do sleep 0.05; done; echo warned; "
    script = f"n=0; trap 'n=$((n+1))' USR2; {waits.format(1)} \"$@\"; {waits.format(2)}"
    words = ["-t", "40s", "--signal=USR2@39.5s", "-o", "nosetpgrp", "sh", "-c", script, "sh"]
    assert job.run(*words, sys.executable, "-c", extends).lines == ["warned", "warned"]
