"""Events between real processes on two nodes, with both libraries."""

from __future__ import annotations

import sys

import pytest
from installed import VERSIONS
from launching import CLIENTS, ENDS_HEARD, Launch, libpmix, models_heard, strays_seen

CLIENT = CLIENTS / "event.py"

pytestmark = [pytest.mark.pmix, pytest.mark.parametrize("version", VERSIONS)]


def library(version: str) -> list[str]:
    path = libpmix(version)
    return ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]


def test_an_event_reaches_whom_its_range_names_once(job: Launch, version: str) -> None:
    result = job.run("-N2", "-n4", *library(version), sys.executable, CLIENT, "ranges")
    everywhere = "0:0:v0 1:0:v1"
    assert result.lines == [
        f"0 {everywhere} 2:0:v2 4:0:v4",
        f"1 {everywhere} 2:0:v2 3:0:v3",
        f"2 {everywhere}",
        f"3 {everywhere} 3:0:v3",
    ]


def test_those_who_register_late_hear_of_what_was_before(job: Launch, version: str) -> None:
    result = job.run("-N2", "-n4", *library(version), sys.executable, CLIENT, "late")
    for line in result.lines[2:]:  # the other node's
        # A client's libpmix may show what it kept itself once more, as its own.
        assert line.split()[1:].count("0:0:early") == 1


def test_many_events_at_once_come_once_and_in_order(job: Launch, version: str) -> None:
    result = job.run("-N2", "-n4", *library(version), sys.executable, CLIENT, "many")
    assert result.lines == [f"{rank} all in order" for rank in range(4)]


def test_every_kind_of_end_is_told_once_to_each_listener_with_what_the_standard_wants(
    job: Launch, version: str
) -> None:
    words = ["-N2", "--tasks-per-node=4", "-o", "exit-timeout=none", *library(version)]
    result = job.run(*words, sys.executable, CLIENTS / "ends.py", code=143)
    assert result.lines == [f"{rank} {text}" for rank in (0, 4) for text in ENDS_HEARD]


def test_a_model_is_declared_to_its_own_process_or_to_whom_it_is_said(job: Launch, version: str) -> None:
    result = job.run("-N2", "-n3", *library(version), sys.executable, CLIENTS / "models.py")
    assert result.lines == [models_heard(rank) for rank in range(3)]


def test_processes_that_are_gone_or_never_were_are_answered_for(job: Launch, version: str) -> None:
    words = (sys.executable, CLIENTS / "strays.py")
    result = job.run("-N2", "-n4", "-o", "exit-timeout=none", *library(version), *words)
    lines, log = strays_seen(version)
    said = result.err.splitlines()
    assert result.lines == lines and len(said) == len(log), result
    assert all(line.endswith(each) for line, each in zip(said, log, strict=True)), result
