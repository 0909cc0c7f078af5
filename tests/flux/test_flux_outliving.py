"""Spawned jobs that outlive the first under Flux: within it, and as Flux jobs of their own, which take over from it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from instance import CLIENTS, Instance
from test_flux_own_jobs import NODES, ended, latest, printed

pytestmark = pytest.mark.flux
CLIENT = (sys.executable, CLIENTS / "outlives.py")
SURVIVES = {
    "data": "True True",
    "of_the_first": "PMIX_ERR_NOT_FOUND",
    "publish": "published",
    "event": "True",
    "control": "signalled",
    "sets": "[{count}, True]",
    "query": "[True, {count}]",
    "group": "1",
    "log": "logged",
    "credential": "True",
}
BY_THE_LAST = {"spawn": "met, 1, True", "spawn_job": "met, 1, True", "allocation": "held and given back"}
ALL = ",".join(("parents_end", "modex", *SURVIVES, "published", *BY_THE_LAST))


def expected(count: int) -> list[str]:
    """What `count` processes say that live on, with all that they had."""
    lines = []
    for rank in range(count):
        lines += [f"{rank} {name}: {said.format(count=count)}" for name, said in SURVIVES.items()]
        lines += [f"{rank} parents_end: ['PMIX_EVENT_PROC_TERMINATED']"]
        lines += [f"{rank} modex: of {(rank + 1) % count}"]
        lines += [f"{rank} published: ['kept', 'value of {(rank + 1) % count}', {count - 1}]"]
        lines += [f"{rank} {name}: {said if rank == count - 1 else 'not here'}" for name, said in BY_THE_LAST.items()]
    return sorted(lines)


def go(instance: Instance, job: str, name: str) -> None:
    """Let those go on who wait for the end of a job."""
    instance.flux("job", "wait-event", "-q", job, "clean")
    (instance.directory / name).touch()


@pytest.fixture(autouse=True)
def words(two: Instance) -> None:
    for name in ("go", "again"):
        (two.directory / name).unlink(missing_ok=True)


def test_a_flux_job_keeps_all_that_it_has_when_the_first_job_is_over(two: Instance, server: str) -> None:
    library = ("-o", f"pmix.libpmix={server}", f"--env=FLUXPMIX_LIBPMIX={server}")
    shared = ("-o", "pmix.oversubscribe=on")
    result = two.run("-N2", "-n2", *library, *shared, *CLIENT, "first", two.directory, 2, ALL, f"{NODES}=2")
    assert result.err == ""
    child, parent = latest(two, 2)
    go(two, parent, "go")
    assert printed(two, child) == expected(2)


@pytest.mark.parametrize("way", ["cancelled", "killed"])
def test_a_first_job_that_is_ended_takes_nothing_along_but_what_a_killed_shell_kept(two: Instance, way: str) -> None:
    names = [name for name in ALL.split(",") if name not in ("parents_end", "published")]
    words = (*CLIENT, "stays", two.directory, 2, ",".join([*names, "published"]), f"{NODES}=2")
    job = two.start("-n1", "-o", "pmix.oversubscribe=on", *words)
    two.until(lambda: len(two.flux("jobs", "-n", "-o", "{id}").split()) == 2, "there is no child")
    child, parent = latest(two, 2)
    two.until(lambda: "begun" in two.flux("job", "eventlog", "-p", "output", parent), "the child did not begin")
    if way == "cancelled":
        two.flux("cancel", parent)
    else:
        (shell,) = [pid for pid in two.processes("flux-shell") if parent.encode() in command_of(pid)]
        os.kill(shell, signal.SIGKILL)
    two.finish(job, code=143 if way == "cancelled" else 137)
    go(two, parent, "go")
    wanted = [line for line in expected(2) if "parents_end" not in line]
    if way == "killed":
        wanted = [
            line.split(" published:")[0] + " published: PMIX_ERR_TIMEOUT" if "published: [" in line else line
            for line in wanted
        ]
    assert printed(two, child) == sorted(wanted)
    if way == "killed":
        two.clean_up_after_a_killed_shell()


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_each_takes_over_from_the_one_before(two: Instance) -> None:
    shared = ("-o", "pmix.oversubscribe=on")
    two.run("-n1", *shared, *CLIENT, "first", two.directory, 2, f"{ALL},again", f"{NODES}=2")
    child, parent = latest(two, 2)
    go(two, parent, "go")
    assert printed(two, child) == sorted([*expected(2), "0 again: not here", "1 again: spawned"])
    grandchild = latest(two, 1)[0]
    go(two, child, "again")
    assert printed(two, grandchild) == expected(1)


def test_a_job_that_is_started_by_hand_joins_whoever_has_taken_over(two: Instance) -> None:
    two.run("-n1", *CLIENT, "first", two.directory, 1, "query", f"{NODES}=1")
    child, parent = latest(two, 2)
    two.flux("job", "wait-event", "-q", parent, "clean")
    name = two.flux("job", "id", "--to=f58", child)
    program = (
        "from fluxpmix.pmix.client import Client\nwith Client() as c: print(c.lookup(['of the session'])[0].value)"
    )
    assert two.run("-n1", "-o", f"pmix.join={name}", sys.executable, "-c", program).lines == ["kept"]
    go(two, parent, "go")
    assert printed(two, child) == ["0 query: [True, 1]"]


def test_within_the_first_job_nothing_changes(two: Instance) -> None:
    (two.directory / "go").touch()  # they hear of the end
    words = (*CLIENT, "first", two.directory, 2, ALL, "pmix.mapby=node")
    result = two.run("-N2", "-n2", "-o", "pmix.oversubscribe=on", *words)
    assert sorted(result.lines) == expected(2)
    assert sorted(line for line in result.err.splitlines() if "waits for resources" not in line) == [
        "logged by 0",
        "logged by 1",
    ]


def test_how_spawned_tasks_end_counts_for_the_job_that_spawned_them(two: Instance) -> None:
    """The first job is over, and so are its processes: that is no end of this one's."""
    shared = ("-o", "pmix.oversubscribe=on")
    two.run("-n1", *shared, *CLIENT, "first", two.directory, 1, "fails", f"{NODES}=1")
    child, parent = latest(two, 2)
    go(two, parent, "go")
    assert ended(two, child) == "7 task 10.0 exited with exit code 7"
