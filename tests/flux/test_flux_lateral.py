"""Large data under a real Flux: over links from shell to shell, or through Flux where there can be none."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from instance import CLIENTS, Instance

from fluxpmix.shell.flux.lateral.address import own_address

pytestmark = pytest.mark.flux
pytest.importorskip("cryptography", reason="cryptography makes the certificates of links")

LARGE = 1 << 20
EXCHANGES = f"""
from fluxpmix import Client, Proc
from fluxpmix.pmix.types import Scope
import os, sys, time
client = Client()
me = client.proc
for turn in range(2):
    print("ready", flush=True)
    while not os.path.exists(f"{{sys.argv[1]}}/{{turn}}"): time.sleep(0.01)
    client.put(Scope.GLOBAL, f"turn-{{turn}}", bytes([me.rank]) * {LARGE})
    client.commit()
    client.fence(collect=True)
    for rank in range(4):
        assert client.get(f"turn-{{turn}}", Proc(me.nspace, rank)) == bytes([rank]) * {LARGE}
client.fence()
client.finalize()
"""


def counters(text: str, name: str) -> list[int]:
    """A counter of each shell's links, as verbose=2 shows them at the end."""
    lines = [line for line in text.splitlines() if "lateral links: " in line]
    return [int(line.partition(f"'{name}': ")[2].partition(",")[0].rstrip("}")) for line in lines]


@pytest.fixture
def four(instance: Callable[[int], Instance]) -> Instance:
    return instance(4)


@pytest.mark.parametrize("exchange", ["bruck", "auto"])
def test_large_data_go_over_links_of_their_own(four: Instance, server: str, exchange: str) -> None:
    words = ["-o", f"pmix.libpmix={server}", "-o", f"pmix.exchange={exchange}", "-o", "verbose=2"]
    result = four.run("-N4", "-n4", *words, sys.executable, CLIENTS / "fence.py", LARGE)
    assert counters(result.err, "sent") == [6] * 4, "two peers in each of three fences"
    assert counters(result.err, "received") == [6] * 4
    assert not any(counters(result.err, "sent instead") + counters(result.err, "repeated"))


def test_small_data_and_the_tree_need_no_links(four: Instance) -> None:
    for exchange, size in (("auto", 1000), ("tree", LARGE)):
        words = ["-o", f"pmix.exchange={exchange}", "-o", "verbose=2"]
        result = four.run("-N4", "-n4", *words, sys.executable, CLIENTS / "fence.py", size)
        assert not counters(result.err, "sent")


class Exchanges:
    """A job of four shells that exchanges large data twice, each time when it is told to."""

    def __init__(self, four: Instance, directory: Path) -> None:
        self._directory = directory
        self._four = four
        words = ["-o", "pmix.exchange=bruck", "-o", "verbose=2", sys.executable, "-c", EXCHANGES, directory]
        self._child = four.start("-N4", "-n4", *words)
        self._ready()

    def exchange(self) -> None:
        (self._directory / "0").touch()
        self._ready()

    def exchange_and_end(self) -> str:
        (self._directory / "1").touch()
        return self._four.finish(self._child).err

    def go_on(self) -> None:
        (self._directory / "1").touch()

    def _ready(self) -> None:
        assert self._child.stdout is not None
        assert [self._child.stdout.readline() for _ in range(4)] == ["ready\n"] * 4


def test_a_peer_that_does_not_answer_gets_its_data_through_flux(four: Instance, tmp_path: Path) -> None:
    """Once for all: what has come both ways counts once."""
    job = Exchanges(four, tmp_path)
    job.exchange()
    stopped = four.shells()[2]
    os.kill(stopped, signal.SIGSTOP)
    job.go_on()
    time.sleep(5)  # longer than anybody's patience
    os.kill(stopped, signal.SIGCONT)
    said = job.exchange_and_end()
    assert "no direct link to shell 2, so data go through Flux: no answer from 127.0.0.1 port" in said
    assert sum(counters(said, "sent instead")) >= 1
    assert sum(counters(said, "repeated")) >= 1


def test_a_stranger_at_a_shells_port_is_refused_and_the_job_goes_on(four: Instance, tmp_path: Path) -> None:
    job = Exchanges(four, tmp_path)
    pids = four.shells().values()
    others = {port for pid in pids for port in _listening(pid)}
    job.exchange()
    ports = {port for pid in pids for port in _listening(pid)} - others
    assert len(ports) == 4
    for port in ports:
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(b"let me in" * 10)
            stranger.settimeout(30)
            with suppress(ConnectionResetError):
                while stranger.recv(100):  # an alert, then the end
                    pass
    assert job.exchange_and_end().count("refused a connection to this shell") == 4


def _listening(pid: int) -> set[int]:
    """The TCP ports on which a process listens."""
    sockets = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {
        int(line[1].partition(":")[2], 16) for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets
    }


@pytest.mark.parametrize(
    ("endpoint", "parent", "expected"),
    [
        ("tcp://[::ffff:192.0.2.2]:8050", None, ("192.0.2.2", socket.AF_INET)),
        ("tcp://[2001:db8::1]:8050", "tcp://192.0.2.1:8050", ("2001:db8::1", socket.AF_INET6)),
        ("tcp://192.0.2.7:8050", None, ("192.0.2.7", socket.AF_INET)),
        (None, "tcp://127.0.0.1:8050", ("127.0.0.1", socket.AF_INET)),
        ("tcp://*:8050", "tcp://[::ffff:127.0.0.1]:8050", ("127.0.0.1", socket.AF_INET)),
        ("ipc:///tmp/flux/tbon-0", "ipc:///tmp/flux/tbon-0", ("127.0.0.1", socket.AF_INET)),
        (None, None, ("127.0.0.1", socket.AF_INET)),
    ],
)
def test_a_shell_listens_in_the_network_of_the_overlay(
    endpoint: str | None, parent: str | None, expected: tuple[str, int]
) -> None:
    assert own_address(endpoint, parent) == expected
