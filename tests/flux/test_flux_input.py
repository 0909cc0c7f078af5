"""Input that is pushed to tasks of a real Flux job: to those that are named, however they treat it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from instance import CLIENTS, Instance

pytestmark = pytest.mark.flux
TAKEN, GONE, FULL = "PMIX_SUCCESS", "PMIX_ERR_NOT_AVAILABLE", "PMIX_ERR_OUT_OF_RESOURCE"
MIB = 1 << 20
Start: TypeAlias = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(two: Instance) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a job whose rank 0 pushes while the others run the shell's text `task`.

    flux run's own input is a pipe that nobody writes to: at its end that of all tasks would end.
    """
    reader, writer = os.pipe()

    def call(words: tuple[str, ...], pushes: tuple[str, ...], task: str, server: str = "") -> subprocess.Popen[str]:
        pusher = " ".join(f"'{word}'" for word in (sys.executable, CLIENTS / "pushes.py", *pushes))
        library = ("-o", f"pmix.libpmix={server}", f"--env=FLUXPMIX_LIBPMIX={server}") if server else ()
        program = ("sh", "-c", f"test $FLUX_TASK_RANK = 0 && exec {pusher}; {task}")
        child = subprocess.Popen(
            ["flux", "run", "-l", "-o", "pmi=pmix", *words, *library, *program],
            env=two.job_environment(),
            cwd=two.directory,
            stdin=reader,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        two.children.append(child)
        return child

    yield call
    os.close(reader)
    os.close(writer)


def said(lines: list[str]) -> list[tuple[str, str]]:
    """What the pusher said, in no order: each push, and what became of it."""
    return [(word, status) for word, status in (line[3:].split() for line in lines if line.startswith("0: "))]


READS = 'while read line; do echo "read $line"; done; echo at the end'


def test_those_get_it_that_are_named(two: Instance, start: Start, server: str) -> None:
    pushes = ("1=one", "2,3=both", "1,3=odd", "1,2,3=")
    result = two.finish(start(("-N2", "-n4"), pushes, READS, server))
    assert sorted(said(result.lines)) == sorted((push, TAKEN) for push in pushes)
    heard = {1: ["one", "odd"], 2: ["both"], 3: ["both", "odd"]}
    for rank, words in heard.items():
        assert [line for line in result.out.splitlines() if line.startswith(f"{rank}: ")] == [
            f"{rank}: {text}" for text in (*(f"read {word}" for word in words), "at the end")
        ]


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_task_that_has_ended_takes_nothing(
    two: Instance, start: Start, server: str, nodes: int, tmp_path: Path
) -> None:
    pushes = (f"@{tmp_path}/ended", "1=a", "1=b", "1=")
    child = start((f"-N{nodes}", "-n2"), pushes, "exit 0", server)
    job = two.until(lambda: two.flux("jobs", "-n", "-o", "{id}"), "it does not run")
    two.until(lambda: "shell.task-exit" in two.flux("job", "eventlog", "-p", "exec", job), "rank 1 does not end")
    (tmp_path / "ended").touch()
    assert set(said(two.finish(child).lines)) <= {(push, status) for push in pushes for status in (GONE, TAKEN)}


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_task_that_has_closed_it_takes_nothing_and_costs_nothing(
    two: Instance, start: Start, server: str, nodes: int, tmp_path: Path
) -> None:
    """flux-shell would go round for ever, trying to write."""
    task = f"exec <&-; touch {tmp_path}/closed; while ! test -e {tmp_path}/end; do sleep 0.05; done; echo fine"
    pushes = (f"@{tmp_path}/closed", "1=a", "1=b", "1=", f"@{tmp_path}/end")
    child = start((f"-N{nodes}", "-n2"), pushes, task, server)
    two.until(lambda: (tmp_path / "closed").exists(), "nothing is closed")
    before = {pid: spent(pid) for pid in two.shells().values()}
    time.sleep(1.5)
    assert all(spent(pid) - seconds < 1 for pid, seconds in before.items()), "a shell is busy"
    (tmp_path / "end").touch()
    result = two.finish(child)
    assert sorted(said(result.lines)) == [(push, GONE) for push in ("1=", "1=a", "1=b")]
    assert "1: fine" in result.lines and result.err == ""


def spent(pid: int) -> float:
    """The processor's seconds that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_much_is_kept_for_a_task_that_does_not_read_yet(two: Instance, start: Start, tmp_path: Path) -> None:
    task = f"while ! test -e {tmp_path}/go; do sleep 0.02; done; wc -c"
    pushes = (f"1=#{40 * MIB}", f"1=#{20 * MIB}", "1=")
    result = two.finish(start(("-N2", "-n2"), (*pushes, f"+{tmp_path}/go"), task))
    assert said(result.lines) == sorted((push, TAKEN) for push in pushes)
    assert f"1: {60 * MIB}" in result.lines


@pytest.mark.parametrize(("lazy", "busy"), [(1, 2), (2, 3)])  # on two nodes, on one
def test_one_that_never_reads_does_not_hold_up_the_others(
    two: Instance, start: Start, lazy: int, busy: int, tmp_path: Path
) -> None:
    task = f"test $FLUX_TASK_RANK = {lazy} && while ! test -e {tmp_path}/go; do sleep 0.02; done; wc -c"
    pushes = tuple(f"{lazy},{busy}=#{20 * MIB + number}" for number in range(4))
    words = ("-N2", "-n4", "-o", "exit-timeout=none")
    result = two.finish(start(words, (*pushes, "*=", f"+{tmp_path}/go"), task))
    assert said(result.lines) == sorted((push, TAKEN) for push in (*pushes, "*="))
    assert f"{busy}: {80 * MIB + 6}" in result.lines, "this one has all"
    assert f"{lazy}: {32 * MIB}" in result.lines, "this one has what flux-shell keeps"
    assert f"task {lazy} does not read its standard input: 64 MiB wait for it" in result.err
