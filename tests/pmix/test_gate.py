"""Who may connect: connections are closed before libpmix reads them, names refused after, and it goes on serving."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from installed import VERSIONS
from live import NSPACE, Live, compiled, library, lone_server, wait_for

from fluxpmix.pmix import upcalls
from fluxpmix.pmix.admission import bytes_sent, bytes_taken
from fluxpmix.pmix.gate import Gate, import_slot
from fluxpmix.pmix.library import Library, LibraryError
from fluxpmix.pmix.types import Proc

pytestmark = pytest.mark.pmix
OWN_PROCESS = True

EACH = pytest.mark.parametrize("version", VERSIONS)
OK = (0, None)
BASE = {upcalls.ClientConnected: lambda upcall: OK, upcalls.ClientFinalized: lambda upcall: OK}
CLIENT = "with Client() as client: client.fence(); print(client.proc.rank)"


class Strangers:
    """Connections of this test to a server, and the judge that refuses them alone."""

    def __init__(self) -> None:
        self._ports: set[int] = set()
        self.refused: list[int] = []
        self.let_in = 0

    def judge(self, descriptor: int) -> str | None:
        with socket.socket(fileno=os.dup(descriptor)) as peer:
            port = peer.getpeername()[1]
        if port not in self._ports:
            self.let_in += 1
            return None
        self.refused.append(port)
        return "a stranger"

    def connect(self, live: Live) -> socket.socket:
        stranger = socket.socket()
        stranger.settimeout(60)
        stranger.bind(("127.0.0.1", 0))
        self._ports.add(stranger.getsockname()[1])
        stranger.connect(("127.0.0.1", live.server.listening_ports[0]))
        return stranger


def is_shut(stranger: socket.socket) -> bool:
    try:
        return stranger.recv(1) == b""
    except ConnectionResetError:  # what was sent was never read
        return True


@EACH
def test_a_connection_that_is_refused_is_closed_unread_and_the_job_goes_on(version: str, tmp_path: Path) -> None:
    strangers = Strangers()
    with Live(library(version), tmp_path, size=2, host=BASE, gate=strangers.judge) as live:
        for said in (b"", struct.pack("!Q", 1 << 60), b"GET / HTTP/1.0\r\n\r\n", os.urandom(4096)):
            with strangers.connect(live) as stranger:
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    stranger.sendall(said)
                assert is_shut(stranger)
        assert live.run(CLIENT, CLIENT) == ["0\n", "1\n"]
        assert (len(strangers.refused), strangers.let_in) == (4, 2)


@EACH
def test_clients_connect_while_strangers_knock(version: str, tmp_path: Path) -> None:
    strangers, enough = Strangers(), threading.Event()
    shut: list[bool] = []
    with Live(library(version), tmp_path, size=4, host=BASE, gate=strangers.judge) as live:

        def knock() -> None:
            while not enough.is_set():
                with strangers.connect(live) as stranger:
                    shut.append(is_shut(stranger))

        knocking = [threading.Thread(target=knock) for _ in range(3)]
        for thread in knocking:
            thread.start()
        assert live.run(*[CLIENT] * 4) == [f"{rank}\n" for rank in range(4)]
        enough.set()
        for thread in knocking:
            thread.join()
    assert shut and all(shut)
    assert strangers.let_in == 4


@EACH
def test_a_peer_that_hung_up_at_once_does_not_shut_the_door(version: str, tmp_path: Path) -> None:
    strangers = Strangers()
    with Live(library(version), tmp_path, host=BASE, gate=strangers.judge) as live:
        for _ in range(50):
            with strangers.connect(live) as stranger:  # gone by reset, maybe before it was accepted
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert live.run(CLIENT) == ["0\n"]


@EACH
def test_a_judge_that_fails_lets_nobody_in_and_is_reported(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strangers, failing = Strangers(), [True]
    reported: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: reported.append(kind))

    def judge(descriptor: int) -> str | None:
        if failing[0]:
            raise LookupError("the judge is out")
        return strangers.judge(descriptor)

    with Live(library(version), tmp_path, host=BASE, gate=judge) as live:
        with strangers.connect(live) as stranger:
            assert is_shut(stranger)
        failing[0] = False
        assert live.run(CLIENT) == ["0\n"]
    assert reported == [LookupError]


@EACH
def test_the_gate_goes_with_the_server(version: str, tmp_path: Path) -> None:
    found = library(version)
    slot = import_slot(found, b"accept")
    before = slot[0]
    with Live(found, tmp_path, gate=lambda descriptor: None):
        assert slot[0] != before
    assert slot[0] == before


@EACH
def test_a_gate_that_cannot_be_put_up_leaves_no_server_behind(version: str, tmp_path: Path) -> None:
    text = "#include <stdlib.h>\nvoid *something(void) { return malloc(1); }"
    path = str(compiled(tmp_path, "libother.so", text, "-shared", "-fPIC"))
    ffi = library(version).ffi
    other = Library(ffi, ffi.dlopen(path), path, (5, 0, 0), "")
    with pytest.raises(LibraryError, match=r"libother\.so: it does not import accept"):
        Gate(other, lambda descriptor: None)
    with lone_server(library(version), tmp_path) as server:
        assert server.listening_ports


# -- after the handshake --------------------------------------------------------------------------------

REFUSED = """
from fluxpmix.pmix.status import PmixError
try:
    Client()
except PmixError as error:
    print(error.call)
"""


def refusing(rank: int) -> Callable[[Proc], str | None]:
    return lambda proc: "not this one" if proc.rank == rank else None


@EACH
def test_a_rank_that_is_refused_by_name_fails_and_the_others_go_on(version: str, tmp_path: Path) -> None:
    with Live(library(version), tmp_path, size=2, host=BASE, admit=refusing(1)) as live:
        refused = live.start(1, REFUSED)
        assert live.finish(refused) == "PMIx_Init\n"
        other = live.start(0, "with Client() as client: print(client.get('pmix.job.size', client.job))")
        assert live.finish(other) == "2\n"
        assert [upcall.proc for upcall in live.seen(upcalls.ClientConnected)] == [Proc(NSPACE, 0)]
        assert not live.errors


@EACH
def test_an_error_while_admitting_refuses_and_is_reported(version: str, tmp_path: Path) -> None:
    def admit(proc: Proc) -> str | None:
        raise LookupError(f"nobody knows {proc}")

    with Live(library(version), tmp_path, host=BASE, admit=admit) as live:
        assert live.finish(live.start(0, REFUSED)) == "PMIx_Init\n"
        wait_for(lambda: [type(error) for error in live.errors] == [LookupError], "the judge's error")


def test_a_connection_whose_descriptor_is_somebody_elses_by_now_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0] as served:
            client.sendall(b"four")
            assert served.recv(4) == b"four"
            assert (bytes_sent(served.fileno(), {port}), bytes_taken(served.fileno(), {port})) == (4, 0)
            one, other = socket.socketpair()
            with one, other:
                os.dup2(one.fileno(), served.fileno())
                assert (bytes_sent(served.fileno(), {port}), bytes_taken(served.fileno(), {port})) == (None, None)
