"""Standard input of tasks that a Flux job has spawned within itself: as with the local launcher, by a helper."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from instance import Instance, Result
from test_spawned_input import (
    ANEW,
    BEHIND,
    CLOSES,
    FEEDS,
    GONE,
    LAZY,
    MIB,
    ONE_PUSHES,
    PUSHES,
    TAKEN,
    TARGETS,
    WAITS,
    answers,
    heard,
    of,
)

pytestmark = pytest.mark.flux
SHARED = ("-l", "-o", "pmix.oversubscribe=on")


def feed(two: Instance, directory: Path, *words: object, child: str = "", server: str = "") -> Result:
    """Run what spawns in a directory of its own."""
    library = (f"--env=FLUXPMIX_LIBPMIX={server}", "-o", f"pmix.libpmix={server}") if server else ()
    return two.run(*SHARED, *library, f"--cwd={directory}", *words, env={"FEEDS_CHILD": child} if child else {})


@pytest.mark.parametrize("target", ["2", "2:UINT32:1", "2:PROC:*"])
def test_those_read_that_are_named(two: Instance, server: str, tmp_path: Path, target: str) -> None:
    read = TARGETS[target]
    result = feed(two, tmp_path, "-N2", "-n2", *ONE_PUSHES, *FEEDS, target, *PUSHES, "+done", server=server)
    assert of(result.out, "0") == answers(read)
    assert [of(result.out, f"1.{rank}") for rank in (0, 1)] == [heard(rank, read[rank]) for rank in (0, 1)]


def test_a_push_to_the_job_and_what_it_has_spawned_is_taken_by_one(two: Instance, tmp_path: Path) -> None:
    """The first job's tasks have nothing to read here: the spawned one does."""
    result = feed(two, tmp_path, "-n1", *FEEDS, "1:UINT32:0", "**=one", "**=")
    assert of(result.out, "0") == [f"**=one: {TAKEN}", f"**=: {TAKEN}"]
    assert of(result.out, "1.0") == heard(0, ["one"])


def test_a_task_that_has_closed_it_takes_nothing(two: Instance, server: str, tmp_path: Path) -> None:
    pushes = ("@closed", "0=a", "0=b", "0=", "+go")
    result = feed(two, tmp_path, "-n1", *FEEDS, "1:UINT32:0", *pushes, child=CLOSES, server=server)
    assert of(result.out, "0") == [f"{push}: {GONE}" for push in ("0=a", "0=b", "0=")]
    assert of(result.out, "1.0") == ["fine"]


def test_much_is_kept_for_a_task_that_does_not_read_yet(two: Instance, tmp_path: Path) -> None:
    pushes = (f"0=#{40 * MIB}", f"0=#{20 * MIB}", "0=", "+go")
    result = feed(two, tmp_path, "-n1", *FEEDS, "1:UINT32:0", *pushes, child=WAITS)
    assert of(result.out, "0") == [f"{push}: {TAKEN}" for push in pushes[:-1]]
    assert of(result.out, "1.0") == [str(60 * MIB)]
    assert result.err == ""


def test_one_that_never_reads_does_not_hold_up_the_others(two: Instance, tmp_path: Path) -> None:
    pushes = tuple(f"*=#{20 * MIB + number}" for number in range(4))
    result = feed(
        two, tmp_path, "-N2", "-n2", *ONE_PUSHES, *FEEDS, "2:UINT32:*", *pushes, "*=", "+go", "+done", child=LAZY
    )
    assert of(result.out, "0") == [f"{push}: {TAKEN}" for push in (*pushes, "*=")]
    assert of(result.out, "1.1") == [str(80 * MIB + 6)], "this one has all"
    assert BEHIND in result.err


def test_one_that_is_restarted_reads_what_comes_then(two: Instance, tmp_path: Path) -> None:
    pushes = ("0=one", "0=more", "@began", "+again", "!0", "0=two", "0=three", "0=")
    result = feed(two, tmp_path, "-n1", *FEEDS, "1:UINT32:0", *pushes, child=ANEW)
    assert of(result.out, "0") == [f"{push}: {TAKEN}" for push in pushes if "=" in push]
    assert of(result.out, "1.0") == ["one", "two", "three"]


def test_a_helper_that_is_killed_takes_nothing(two: Instance, tmp_path: Path) -> None:
    """Its tasks go with it, and whoever pushes hears at once."""
    words = ("-n1", f"--cwd={tmp_path}", *FEEDS, "1:UINT32:0", "0=one", "+fed", "@killed", "0=two")
    child = two.start(*SHARED, *words)
    two.until(lambda: (tmp_path / "fed").exists(), "nothing is spawned")
    (helper,) = [pid for pid, words in two.started().items() if "fluxpmix.shell.flux.starter" in words]
    os.kill(helper, signal.SIGKILL)
    (tmp_path / "killed").touch()
    result = two.finish(child, 137)
    assert of(result.out, "0") in ([f"0=one: {TAKEN}", f"0=two: {status}"] for status in (GONE, "PMIX_ERR_NOT_FOUND"))
