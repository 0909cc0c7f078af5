"""Events between the shells of a real Flux: those that tasks raise, and the host's own about tasks that are gone."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from installed import find_libpmix as libpmix
from instance import CLIENTS, Instance
from launching import ENDS_HEARD, models_heard, strays_seen
from test_failures_survived import survive

pytestmark = pytest.mark.flux
KEEP_GOING = ("-o", "exit-timeout=none")


def library(server: str) -> list[str]:
    """The same libpmix on both sides."""
    return ["-o", f"pmix.libpmix={server}", f"--env=FLUXPMIX_LIBPMIX={server}"]


def test_an_event_reaches_whom_its_range_names_once(two: Instance, server: str) -> None:
    result = two.run("-N2", "-n4", *library(server), sys.executable, CLIENTS / "event.py", "ranges")
    everywhere = "0:0:v0 1:0:v1"
    assert result.lines == [
        f"0 {everywhere} 2:0:v2 4:0:v4",
        f"1 {everywhere} 2:0:v2 3:0:v3",
        f"2 {everywhere}",
        f"3 {everywhere} 3:0:v3",
    ]


def test_those_who_register_late_hear_of_what_was_before(two: Instance, server: str) -> None:
    result = two.run("-N2", "-n4", *library(server), sys.executable, CLIENTS / "event.py", "late")
    for line in result.lines[2:]:  # the other shell's
        assert line.split()[1:].count("0:0:early") == 1


def test_many_events_over_four_shells_come_once_and_in_order(instance: Callable[[int], Instance], server: str) -> None:
    result = instance(4).run("-N4", "-n4", *library(server), sys.executable, CLIENTS / "event.py", "many")
    assert result.lines == [f"{rank} all in order" for rank in range(4)]


def test_every_kind_of_end_is_told_once_to_each_listener_with_what_the_standard_wants(
    two: Instance, server: str
) -> None:
    words = ["-N2", "--tasks-per-node=4", "-o", "exit-timeout=none", *library(server)]
    result = two.run(*words, sys.executable, CLIENTS / "ends.py", code=143)
    assert result.lines == [f"{rank} {text}" for rank in (0, 4) for text in ENDS_HEARD]


def test_a_model_is_declared_to_its_own_process_or_to_whom_it_is_said(two: Instance, server: str) -> None:
    result = two.run("-N2", "-n3", *library(server), sys.executable, CLIENTS / "models.py")
    assert result.lines == [models_heard(rank) for rank in range(3)]


@pytest.mark.parametrize(
    ("how", "code", "event"),
    [
        ("kill", 137, "PMIX_ERR_PROC_ABORTED_BY_SIG"),
        ("7", 7, "PMIX_ERR_PROC_TERM_WO_SYNC"),
        ("finalize", 0, "PMIX_EVENT_PROC_TERMINATED"),
    ],
)
@pytest.mark.parametrize("victim", [0, 3])
def test_the_others_hear_of_a_death_at_once_and_go_on(
    two: Instance, server: str, tmp_path: Path, how: str, code: int, event: str, victim: int
) -> None:
    words = ["-N2", "-n4", *KEEP_GOING, *library(server), f"--env=SAID={tmp_path}"]
    result = two.run(*words, sys.executable, CLIENTS / "survivor.py", how, victim, code=code)
    lines = [line.split(" ", 5) for line in result.lines]
    others = [rank for rank in range(4) if rank != victim]
    assert [words[:5] for words in lines] == [[str(rank), event, str(victim), str(code), "soon"] for rank in others]
    for each in lines:
        fences = each[5].split()
        assert fences[-1] == "fenced", "among those who are left"
        assert set(fences[:-1]) <= {"fenced", "PMIX_ERR_PROC_TERM_WO_SYNC", "PMIX_ERR_LOST_CONNECTION"}


LOSES_A_NODE = """
import os, signal, threading
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import Status, describe
from fluxpmix.pmix.types import find

signal.signal(signal.SIGTERM, lambda *_: None)
client, heard, down = Client(), [], threading.Event()

def hear(status, source, infos):
    one, many = find(infos, a.EVENT_AFFECTED_PROC), find(infos, a.EVENT_AFFECTED_PROCS)
    ranks = [proc.rank for proc in ([one] if one else many.items)]
    heard.append(f"{describe(status)} {ranks}")
    if len(heard) == 3: down.set()

client.register_event_handler([Status.EVENT_NODE_DOWN, Status.ERR_PROC_ABORTED], hear)
client.fence()
if client.proc.rank == 4: print("ready", flush=True)
if client.proc.rank > 3: signal.pause()
assert down.wait(20), heard
print(client.proc.rank, *sorted(heard), flush=True)
os._exit(0)
"""


def lost_node() -> list[str]:
    ends = [f"PMIX_ERR_PROC_ABORTED [{rank}]" for rank in (4, 5)]
    return [" ".join([str(rank), *ends, "PMIX_EVENT_NODE_DOWN [4, 5]"]) for rank in range(4)]


def test_tasks_hear_of_a_lost_shell_and_of_those_that_were_under_it(
    instance: Callable[[int], Instance], server: str
) -> None:
    four = instance(4)
    child = four.start("-N3", "-n6", *KEEP_GOING, *library(server), sys.executable, "-c", LOSES_A_NODE)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    os.kill(four.shells()[2], signal.SIGKILL)
    result = four.finish(child, 137)
    four.clean_up_after_a_killed_shell()
    assert result.lines == lost_node()


def test_tasks_hear_of_a_lost_broker_and_of_those_that_were_under_it(plugin: Path, server: str) -> None:
    """Flux ends such a job; those who do not heed SIGTERM hear of it first."""
    if shutil.which("flux") is None:
        pytest.skip("flux is not on PATH")
    three = Instance(3, plugin)  # of its own: it is the worse for it
    try:
        words = ["-N3", "-n6", *KEEP_GOING, *library(server), sys.executable, "-c", LOSES_A_NODE]
        child = three.start(*words)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        (broker,) = three.processes("flux-broker-2")
        os.kill(broker, signal.SIGKILL)
        result = three.finish(child, 1)
        assert result.lines == lost_node()
        three.clean_up_after_a_killed_shell()
    finally:
        three.close()


def test_processes_that_are_gone_or_never_were_are_answered_for(two: Instance, server: str) -> None:
    result = two.run("-N2", "-n4", *KEEP_GOING, *library(server), sys.executable, CLIENTS / "strays.py")
    lines, log = strays_seen("4.2" if server == libpmix("4.2") else "later")
    said = [line for line in result.err.splitlines() if "is not known here" in line]
    assert result.lines == lines and len(said) == len(log), result
    assert all(line.endswith(each) for line, each in zip(said, log, strict=True)), result


@pytest.mark.mpi5
@pytest.mark.parametrize("victim", [0, 3])
def test_an_allreduce_loop_that_loses_a_rank_shrinks_and_finishes(two: Instance, tmp_path: Path, victim: int) -> None:
    """Open MPI 5 with fault tolerance on (MPIX_Comm_revoke, MPIX_Comm_shrink, MPIX_Comm_agree)."""
    words = (*KEEP_GOING, "--env=OMPI_MCA_mpi_ft_enable=1", survive(tmp_path), victim)
    result = two.run("-N2", "-n4", *words, code=137)
    assert result.lines == [f"{rank} 3 3" for rank in range(4) if rank != victim]
