"""What may go wrong in a real Flux, and how it ends: at once, with a line that names it, and nothing left.

That nothing is left is checked by the fixture `instance`, after every test.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from installed import find_libpmix as libpmix
from instance import CLIENTS, Instance

pytestmark = pytest.mark.flux
CONNECTED = "from fluxpmix import Client\nimport os, signal, sys, time\nclient = Client()\nrank = client.proc.rank\n"
TRY_FENCE = "try: client.fence()\nexcept Exception as error: print(rank, error, flush=True)\n"


def client(text: str) -> list[str]:
    """A command that runs a Python text with `client` connected."""
    return [sys.executable, "-c", CONNECTED + text]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["pmix.libpmix=/nonexistent/libpmix.so"], "no usable libpmix, version 4.2 or newer; tried /nonexistent"),
        (["pmix.libpmix=libc.so.6"], "not a libpmix"),
        (["pmix.libpmix=7"], "-o pmix.libpmix=7: text is expected"),
        (["pmix.timeout=soon"], "-o pmix.timeout=soon: write a number with ms, s, m, h or d, e.g. 90s or 1.5h"),
        (["pmix.timeout=-1"], "-o pmix.timeout=-1: write a number with"),
        (["pmix.alert=inf"], "-o pmix.alert=inf: an alert comes a finite time before the time limit"),
        (["pmix.fanout=1"], "-o pmix.fanout=1: a whole number from 2 to 65536 is expected"),
        (["pmix.exchange=star"], "-o pmix.exchange=star: one of auto, tree, bruck is expected"),
        (["pmix.model="], "-o pmix.model=: text is expected"),
        (["pmix.fan=2"], "-o pmix.fan: there is no such option"),
        (["pmix=2"], "-o pmix=2: an option of it is expected"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_fails_the_job_with_a_line(two: Instance, options: list[str], says: str) -> None:
    words = [word for option in options for word in ("-o", option)]
    result = two.run("-N2", "-n2", *words, "true", code=1)
    said = [line for line in result.err.splitlines() if says in line]
    assert said and all("job.exception" in line for line in said), result
    assert "Traceback" not in result.err
    two.clean_up_after_a_killed_shell()  # one that Flux ended while it still started


def test_a_task_that_dies_fails_the_fence_that_needs_it(two: Instance, server: str) -> None:
    dies = (
        "client.put(3, 'pid', os.getpid())\nclient.commit()\nclient.fence(collect=True)\n"
        "pid = client.get('pid', type(client.proc)(client.proc.nspace, 1))\n"
        "if rank == 1: os.kill(pid, 9)\n"
        "while os.path.exists(f'/proc/{pid}'): time.sleep(0.01)\n"
        f"{TRY_FENCE}client.finalize()"
    )
    started = time.monotonic()
    result = two.run("-N2", "-n4", "-o", f"pmix.libpmix={server}", *client(dies), code=137)
    assert time.monotonic() - started < 20, "nobody waited for Flux's exit-timeout"
    failed = {f"{rank} PMIx_Fence: PMIX_ERR_PROC_TERM_WO_SYNC (-200)" for rank in (0, 2, 3)}
    # From 5.0 on libpmix tells only one of several local clients of a failure.
    assert set(result.lines) == failed or (server != libpmix("4.2") and len(failed & set(result.lines)) >= 2), result


def test_a_fence_that_takes_too_long_ends_with_who_was_missing(two: Instance) -> None:
    late = f"if rank == 1: time.sleep(3)\n{TRY_FENCE}client.finalize()"
    result = two.run("-N2", "-n4", "-o", "pmix.timeout=1000ms", *client(late))
    assert len([line for line in result.lines if "PMIX_ERR_TIMEOUT (-24)" in line]) >= 2, "one of each shell"
    assert "waiting for shell 0 (ranks 0-1" in result.err


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGTERM, 143), (signal.SIGKILL, 137), (signal.SIGUSR1, 138)],
)
def test_a_job_that_is_killed_in_a_fence_ends(two: Instance, signum: int, code: int) -> None:
    child = two.start("-N2", "-n4", *client("if rank == 3: time.sleep(60)\nprint('in', flush=True)\nclient.fence()"))
    assert child.stdout is not None
    assert child.stdout.readline() == "in\n"
    two.flux("job", "kill", f"--signal={signum}", two.flux("job", "last"))
    two.finish(child, code)


def test_a_job_that_is_cancelled_in_a_fence_ends(two: Instance) -> None:
    child = two.start("-N2", "-n4", *client("if rank == 3: time.sleep(60)\nprint('in', flush=True)\nclient.fence()"))
    assert child.stdout is not None
    assert child.stdout.readline() == "in\n"
    two.flux("cancel", two.flux("job", "last"))
    two.finish(child, 143)


def test_a_job_that_runs_out_of_time_in_a_fence_ends(two: Instance) -> None:
    two.run("-N2", "-n4", "-t2s", *client("if rank == 3: time.sleep(60)\nclient.fence()"), code=142)


@pytest.mark.parametrize("shell", [1, 2])
def test_a_shell_that_is_killed_fails_the_fences_of_the_others(instance: Callable[[int], Instance], shell: int) -> None:
    four = instance(4)
    wait = f"client.fence()\nif rank == {shell}: print('ready', flush=True); time.sleep(60)\n{TRY_FENCE}"
    child = four.start("-N4", "-n4", "-o", "exit-timeout=5s", *client(wait))
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    os.kill(four.shells()[shell], signal.SIGKILL)
    result = four.finish(child, 137)
    four.clean_up_after_a_killed_shell()
    others = [f"{rank} PMIx_Fence: PMIX_ERR_LOST_CONNECTION (-61)" for rank in range(4) if rank != shell]
    assert result.lines == others


def test_the_next_job_removes_what_a_killed_shell_has_left(two: Instance, server: str, tmp_path: Path) -> None:
    """All that is not the user's; the directories of jobs that live are let be."""
    show = "parent, where = os.getppid(), os.environ['FLUX_JOB_TMPDIR']\nprint(where, flush=True)\n"
    lives = "while os.getppid() == parent: time.sleep(0.05)\nos._exit(0)"
    killed = f"{show}open(where + '/mine', 'w').close()\nclient.fence()\n{lives}"
    words = ["-o", "exit-timeout=1s", "-o", f"pmix.libpmix={server}"]
    child = two.start("-N2", "-n2", *words, *client(killed))
    assert child.stdout is not None
    left = next(path for path in (child.stdout.readline().strip() for _ in range(2)) if "/jobtmp-1-" in path)
    os.kill(two.shells()[1], signal.SIGKILL)
    two.finish(child, 1)
    two.until(lambda: not two.shells(), "shells are left")
    assert len(os.listdir(left)) > 2, "Flux leaves the directory as it was"

    go = tmp_path / "go"
    living = two.start("-n1", *words, *client(f"{show}while not os.path.exists('{go}'): time.sleep(0.05)"))
    assert living.stdout is not None
    alive = living.stdout.readline().strip()
    there = sorted(os.listdir(alive))
    two.run("-N2", "-n2", "true")
    assert os.listdir(left) == ["mine"], "the user's file is the user's"
    assert sorted(os.listdir(alive)) == there and len(there) > 2
    go.touch()
    two.finish(living)
    os.unlink(f"{left}/mine")
    os.rmdir(left)


def test_a_leader_that_is_killed_ends_the_job(two: Instance) -> None:
    child = two.start(
        "-N2", "-n2", *client("client.fence()\nif rank: client.fence()\nprint('x', flush=True)\nsignal.pause()")
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "x\n"
    os.kill(two.shells()[0], signal.SIGKILL)
    two.finish(child, 143)
    two.clean_up_after_a_killed_shell()


def test_a_rank_that_ends_long_before_the_others_is_answered_for(two: Instance) -> None:
    """Its shell has no task any more, and must still say that none will fence."""
    early = f"client.fence()\nif rank == 1: client.finalize(); sys.exit(0)\ntime.sleep(1.5)\n{TRY_FENCE}"
    result = two.run("-N2", "-n2", "-o", "exit-timeout=none", *client(early))
    assert result.lines == ["0 PMIx_Fence: PMIX_ERR_PROC_TERM_WO_SYNC (-200)"]


def test_the_first_shell_stays_until_the_others_are_done(two: Instance) -> None:
    late = "client.fence()\nif rank < 2: sys.exit(0)\ntime.sleep(1.5)\nclient.put(3, 'x', 1)\nclient.commit()"
    two.run("-N2", "-n4", "-o", "exit-timeout=none", *client(late))


def test_a_job_goes_on_after_another_failed(two: Instance) -> None:
    two.run("-N2", "-n2", "-o", "pmix.libpmix=/nonexistent", "true", code=1)
    two.clean_up_after_a_killed_shell()
    two.run("-N2", "-n4", sys.executable, CLIENTS / "fence.py")
