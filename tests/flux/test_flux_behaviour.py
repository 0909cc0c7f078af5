"""`flux run -o pmi=pmix` in a real Flux: what a job sees of our plugin, and what a user sees of a job that fails."""

from __future__ import annotations

import sys

import pytest
from instance import CLIENTS, Instance

pytestmark = pytest.mark.flux
CONNECTED = "from fluxpmix import Client\nimport os, signal, sys, time\nclient = Client()\nrank = client.proc.rank\n"


def client(text: str) -> list[str]:
    """A command that runs a Python text with `client` connected."""
    return [sys.executable, "-c", CONNECTED + text]


def test_ranks_on_two_shells_exchange_data(two: Instance, server: str) -> None:
    two.run("-N2", "-n4", "-o", f"pmix.libpmix={server}", sys.executable, CLIENTS / "fence.py")


@pytest.mark.parametrize("size", [64, 4096, 1 << 20])
def test_data_of_any_size_is_exchanged(two: Instance, size: int) -> None:
    two.run("-N2", "-n4", sys.executable, CLIENTS / "fence.py", size)


def test_an_abort_ends_the_job_with_its_message_and_status(two: Instance, server: str) -> None:
    abort = "client.fence()\nif rank == 1: client.abort(42, 'no more water')\ntime.sleep(60)"
    result = two.run("-N2", "-n4", "-o", f"pmix.libpmix={server}", *client(abort), code=42)
    assert "PMIx_Abort by rank 1 with status 42: no more water" in result.err
    assert two.exceptions() == ["PMIx_Abort by rank 1 with status 42: no more water"]


def test_exit_codes_are_the_tasks(two: Instance) -> None:
    two.run("-N2", "-n4", *client("client.finalize(); sys.exit(rank)"), code=3)


def test_no_python_where_pmix_is_not_asked_for(two: Instance) -> None:
    result = two.run("-n1", "-o", "verbose=2", "sh", "-c", "cat /proc/$PPID/maps", pmix=False)
    assert "libpython" not in result.out and "pmix.so" not in result.out
    result = two.run("-n1", "-o", "pmi=simple,pmix", "sh", "-c", "cat /proc/$PPID/maps", pmix=False)
    assert "libpython" in result.out and "pmix.so" in result.out


def test_no_thread_of_ours_takes_a_signal_of_the_shell(two: Instance) -> None:
    """flux-shell reads its signals through a descriptor: a thread that had one unblocked would swallow it."""
    result = two.run("-n1", "sh", "-c", "grep -h '^SigBlk' /proc/$PPID/task/*/status")
    masks = [int(line.split()[1], 16) for line in result.lines]
    whole = max(masks)
    catchable = ~(1 << 8 | 1 << 18) & 0x7FFFFFFF  # all but SIGKILL and SIGSTOP
    assert len(masks) >= 2 and whole & catchable == catchable
    assert len([mask for mask in masks if mask & catchable != catchable]) == 1, "only the shell's own"


def test_a_signal_to_the_shell_reaches_the_tasks(two: Instance) -> None:
    trap = (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\nos.kill(os.getppid(), signal.SIGTERM)\nsignal.pause()"
    )
    two.run("-n1", *client(trap), code=9)
