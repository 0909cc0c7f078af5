"""Standard input of spawned tasks: pushed to those that PMIX_STDIN_TGT names, however they treat it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix
from test_tools import rendezvous

pytestmark = pytest.mark.pmix
FEEDS = (sys.executable, CLIENTS / "feeds.py")
TAKEN, GONE = "SUCCESS", "PMIX_ERR_NOT_AVAILABLE"
MIB = 1 << 20
PUSHES = ("0=one", "1=two", "*=all", "0=", "0=more", "1=")
# Whom PMIX_STDIN_TGT names, as a value of which type: what ranks 0 and 1 read.
TARGETS: dict[str, tuple[list[str], list[str]]] = {
    "2": ([], []),
    "2:UINT32:1": ([], ["two", "all"]),
    "2:PROC_RANK:1": ([], ["two", "all"]),
    "2:PROC:0": (["one", "all"], []),
    "2:UINT32:*": (["one", "all"], ["two", "all"]),
    "2:PROC:*": (["one", "all"], ["two", "all"]),
    "2:UINT32:4294967292": ([], []),  # PMIX_RANK_INVALID
}
# The second rank on another node than who pushes, while the first job's other ranks sleep.
ONE_PUSHES = ("sh", "-c", 'test $FLUX_TASK_RANK = 0 && exec "$@"; while ! test -e done; do sleep 0.02; done', "-")
# Closes its input, reads at last, or not at all; each when it is told.
CLOSES = "exec <&-; touch closed; while ! test -e go; do sleep 0.02; done; echo fine"
WAITS = "while ! test -e go; do sleep 0.02; done; wc -c"
LAZY = "test $FLUX_TASK_RANK = 0 && while ! test -e go; do sleep 0.02; done; wc -c"
ANEW = 'read line; echo "$line"; test -e again && exec cat; touch began; exec sleep 60'
BEHIND = "task 1.0 does not read its standard input: 64 MiB wait for it, it gets no more; push to those tasks that read"


def answers(read: tuple[list[str], list[str]]) -> list[str]:
    """What becomes of each push where these ranks read."""
    to = {"0": bool(read[0]), "1": bool(read[1]), "*": any(read)}
    return [f"{push}: {TAKEN if to[push[0]] and push != '0=more' else GONE}" for push in PUSHES]


def heard(rank: int, read: list[str]) -> list[str]:
    return [*(f"{rank} read {word}" for word in read), f"{rank} at the end"]


def of(output: str, task: str) -> list[str]:
    """The lines of a task, in their order."""
    return [line.removeprefix(f"{task}: ") for line in output.splitlines() if line.startswith(f"{task}: ")]


@pytest.fixture(params=VERSIONS)
def library(request: pytest.FixtureRequest) -> list[str]:
    path = libpmix(request.param)
    return ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]


@pytest.mark.parametrize("target", TARGETS)
def test_those_read_that_are_named(job: Launch, library: list[str], target: str) -> None:
    read = TARGETS[target]
    result = job.run("-l", "-N2", "-n2", *library, *ONE_PUSHES, *FEEDS, target, *PUSHES, "+done")
    assert of(result.out, "0") == answers(read)
    assert [of(result.out, f"1.{rank}") for rank in (0, 1)] == [heard(rank, read[rank]) for rank in (0, 1)]


def test_a_rank_that_is_not_there_is_named(job: Launch, library: list[str]) -> None:
    result = job.run("-n1", *library, *FEEDS, "2:UINT32:2")
    assert result.lines == ["PMIX_ERR_BAD_PARAM"]
    assert "PMIX_STDIN_TGT is 2: a rank of the 2 is expected, or all" in result.err


def test_what_the_launcher_reads_is_not_for_them(job: Launch) -> None:
    result = job.run("-l", "-n1", *FEEDS, "2:UINT32:*", "*=pushed", "*=", input="read\n")
    assert [of(result.out, f"1.{rank}") for rank in (0, 1)] == [heard(rank, ["pushed"]) for rank in (0, 1)]


def test_a_task_that_has_closed_it_takes_nothing(job: Launch, library: list[str]) -> None:
    pushes = ("@closed", "0=a", "0=b", "0=", "+go")
    result = job.run("-l", "-n1", *library, *FEEDS, "1:UINT32:0", *pushes, env={"FEEDS_CHILD": CLOSES})
    assert of(result.out, "0") == [f"{push}: {GONE}" for push in ("0=a", "0=b", "0=")]
    assert of(result.out, "1.0") == ["fine"]


def test_a_task_that_has_ended_takes_nothing(job: Launch) -> None:
    """Its job goes on: another rank reads."""
    text = "test $FLUX_TASK_RANK = 0 && exec touch ended; cat"
    late = [f"0={number}" for number in range(3)]
    result = job.run("-l", "-n1", *FEEDS, "2:UINT32:*", "@ended", *late, "1=on", "1=", env={"FEEDS_CHILD": text})
    assert set(of(result.out, "0")[:3]) <= {f"{push}: {status}" for push in late for status in (GONE, TAKEN)}
    assert of(result.out, "0")[3:] == [f"1=on: {TAKEN}", f"1=: {TAKEN}"]
    assert of(result.out, "1.1") == ["on"]


def test_much_is_kept_for_a_task_that_does_not_read_yet(job: Launch) -> None:
    pushes = (f"0=#{40 * MIB}", f"0=#{20 * MIB}", "0=", "+go")
    result = job.run("-l", "-n1", *FEEDS, "1:UINT32:0", *pushes, env={"FEEDS_CHILD": WAITS})
    assert of(result.out, "0") == [f"{push}: {TAKEN}" for push in pushes[:-1]]
    assert of(result.out, "1.0") == [str(60 * MIB)]
    assert result.err == ""


def test_one_that_never_reads_does_not_hold_up_the_others(job: Launch) -> None:
    pushes = tuple(f"*=#{20 * MIB + number}" for number in range(4))
    result = job.run("-l", "-n1", *FEEDS, "2:UINT32:*", *pushes, "*=", "+go", env={"FEEDS_CHILD": LAZY})
    assert of(result.out, "0") == [f"{push}: {TAKEN}" for push in (*pushes, "*=")]
    assert of(result.out, "1.1") == [str(80 * MIB + 6)], "this one has all"
    assert BEHIND in result.err


def test_one_that_is_restarted_reads_what_comes_then(job: Launch) -> None:
    pushes = ("0=one", "0=more", "@began", "+again", "!0", "0=two", "0=three", "0=")
    result = job.run("-l", "-n1", *FEEDS, "1:UINT32:0", *pushes, env={"FEEDS_CHILD": ANEW})
    assert of(result.out, "0") == [f"{push}: {TAKEN}" for push in pushes if "=" in push]
    assert of(result.out, "1.0") == ["one", "two", "three"]


TOOL = """
import sys
from fluxpmix.pmix.tool import Tool
from fluxpmix.pmix.types import Proc

with Tool(file=sys.argv[1]) as tool:
    for data in (b"from a tool\\n", b""):
        tool.iof_push([Proc(sys.argv[2], 1)], data)
"""


def test_a_tool_pushes_to_them(job: Launch) -> None:
    child = job.start("-l", "-n1", *FEEDS, "2:UINT32:1", "@pushed", env={"FEEDS_CHILD": "touch began; cat"})
    job.until(lambda: (job.directory / "began").exists(), "nothing is spawned")
    path, name = rendezvous(job)
    words = [sys.executable, "-c", TOOL, path, f"{name}.1"]
    subprocess.run(words, env=job.environment(), check=True, timeout=60)
    (job.directory / "pushed").touch()
    assert of(job.finish(child).out, "1.1") == ["from a tool"]
