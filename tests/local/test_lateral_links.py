"""What must hold of the links between Flux's shells: real sockets and TLS, and a loop instead of flux-shell's."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from fluxpmix.host.effects import Level
from fluxpmix.shell.flux.lateral import Lateral, link
from fluxpmix.shell.local.reactor import READ, Reactor

pytest.importorskip("cryptography", reason="cryptography makes the certificates of links")
PATIENCE = 30.0
LINK, CERTIFICATE = b"link", b"certificate"


class Request:
    """A request to a shell's service, and who waits for its answer."""

    def __init__(self, payload: bytes, post: Callable[[Callable[[], None]], None], done: Callable[[int, bytes], None]):
        self.payload = payload
        self._post = post
        self._done = done

    def respond(self, payload: bytes = b"") -> None:
        self._post(lambda: self._done(0, payload))

    def refuse(self, code: int, _text: str) -> None:
        self._post(lambda: self._done(code, b""))

    def keep(self) -> Request:
        return self

    def drop(self) -> None:
        pass


class Desk:
    """What one shell's links ask of flux-shell, in one loop for all shells of the test."""

    def __init__(self, job: Job, rank: int) -> None:
        self._job = job
        self.logs: list[tuple[Level, str]] = []
        self.got: list[tuple[int, bytes]] = []
        self.instead: list[tuple[int, bytes]] = []
        self.answers: dict[bytes, Callable[[Request], None]] = {}
        self.lateral = Lateral(self, rank, range(job.size), (LINK, CERTIFICATE), self._receive, self._send_instead)
        self.answers = {LINK: self.lateral.listener.serve, CERTIFICATE: self.lateral.certificate.serve}
        self.rank = rank
        self.closed = False

    def close(self) -> None:
        self.closed = True
        self.lateral.close()

    def _receive(self, shell: int, frame: Any) -> None:
        self.got.append((shell, bytes(frame)))

    def _send_instead(self, shell: int, parts: Sequence[Any]) -> None:
        message = b"".join(parts)
        self.instead.append((shell, message))
        self._job.reactor.post(lambda: self._job.desks[shell].lateral.take(self.rank, message))

    def call(self, topic: bytes, broker: int, payload: bytes, done: Callable[[int, bytes], None]) -> None:
        request = Request(payload, self._job.reactor.post, done)
        self._job.reactor.post(lambda: self._job.desks[broker].answers[topic](request))

    def attribute(self, _name: str) -> str | None:
        return None

    def log(self, level: Level, message: str) -> None:
        self.logs.append((level, message))

    def watch(self, fd: int, call: Callable[[], None]) -> int:
        self._job.reactor.watch(fd, READ, lambda _events: call())
        return fd

    def timer(self, call: Callable[[], None]) -> Any:
        return [call, None]

    def set_timer(self, timer: Any, seconds: float) -> None:
        if timer[1] is not None:
            timer[1].cancel()
        timer[1] = self._job.reactor.call_later(seconds, timer[0])

    def stop_watching(self, watcher: Any) -> None:
        if isinstance(watcher, int):
            self._job.reactor.forget(watcher)
        elif watcher[1] is not None:
            watcher[1].cancel()


class Job:
    def __init__(self, size: int) -> None:
        self.size = size
        self.reactor = Reactor()
        self.desks: list[Desk] = []
        self.desks = [Desk(self, rank) for rank in range(size)]

    def until(self, what: Callable[[], Any]) -> None:
        late: list[bool] = []

        def look() -> None:
            if what():
                self.reactor.stop()
            else:
                self.reactor.call_later(0.005, look)

        timer = self.reactor.call_later(PATIENCE, lambda: (late.append(True), self.reactor.stop()))
        self.reactor.call_later(0, look)
        self.reactor.run()
        timer.cancel()
        assert not late, "it did not happen"


@pytest.fixture
def job() -> Iterator[Job]:
    before = set(os.listdir("/proc/self/fd"))
    one = Job(3)
    yield one
    for desk in one.desks:
        if not desk.closed:
            desk.close()
    one.reactor.close()
    assert set(os.listdir("/proc/self/fd")) <= before, "a descriptor is left open"


def test_messages_arrive_in_their_order_and_are_acknowledged(job: Job) -> None:
    first, second, third = job.desks
    sent = [bytes([number]) * size for number, size in enumerate((1, 100_000, 3_000_000, 7))]
    for message in sent:
        first.lateral.send(1, (message[:1], message[1:]))
        third.lateral.send(1, (message,))
    second.lateral.send(0, (b"back",))
    job.until(lambda: len(second.got) == 8 and first.got)
    for shell in (0, 2):
        assert [data for source, data in second.got if source == shell] == sent
    assert first.got == [(1, b"back")]
    job.until(lambda: all(one.patience is None for desk in job.desks for one in desk.lateral._links.values()))
    assert not any(desk.instead or desk.logs for desk in job.desks)


def test_a_shell_that_leaves_has_acknowledged_what_it_got(job: Job) -> None:
    first, second, _ = job.desks
    first.lateral.send(1, (b"one",))
    job.until(lambda: second.got)
    second.close()
    job.until(lambda: first.logs)
    ((level, _),) = first.logs
    assert level is Level.DEBUG and not first.instead, "nothing is lost, so nobody need hear of it"


def test_a_refused_connection_sends_all_through_flux_and_is_not_tried_again(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    first, second, third = job.desks
    second.answers[LINK] = lambda request: request.respond(f"127.0.0.1 {port}".encode())
    for number in range(3):
        first.lateral.send(1, (bytes([number]),))
    job.until(lambda: len(second.got) == 3)
    first.lateral.send(1, (b"x",))
    first.lateral.send(2, (b"y",))  # where nothing works it is not tried with others either
    job.until(lambda: len(second.got) == 4 and third.got)
    assert second.got == [(0, bytes([number])) for number in range(3)] + [(0, b"x")]
    assert first.lateral.counters["sent instead"] == 5
    reason = f"127.0.0.1 port {port}: {os.strerror(errno.ECONNREFUSED)}"
    assert first.logs == [(Level.NOTICE, f"no direct link to shell 1, so data go through Flux: {reason}")]


def test_a_wall_that_swallows_everything_costs_patience_and_no_data(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as wall:  # takes the connection, and says nothing
        port = wall.getsockname()[1]
        first, second, _ = job.desks
        second.answers[LINK] = lambda request: request.respond(f"127.0.0.1 {port}".encode())
        first.lateral.send(1, (b"data",))
        job.until(lambda: second.got)
        assert second.got == [(0, b"data")]
        assert f"no answer from 127.0.0.1 port {port} for 0." in first.logs[0][1]


def test_what_came_by_link_and_through_flux_counts_once(job: Job) -> None:
    first, second, _ = job.desks
    first.lateral.send(1, (b"one",))
    job.until(lambda: second.got)
    first.lateral._links[1].late()  # before the acknowledgement
    assert first.instead and first.instead[0][0] == 1
    first.lateral.send(1, (b"two",))
    job.until(lambda: len(second.got) == 2 and second.lateral.counters["repeated"])
    assert second.got == [(0, b"one"), (0, b"two")]


def test_without_a_certificate_data_go_through_flux(job: Job) -> None:
    first, second, third = job.desks
    first.answers[CERTIFICATE] = lambda request: request.refuse(errno.ENOTSUP, "no cryptography")
    second.lateral.send(2, (b"data",))
    job.until(lambda: third.got)
    assert third.got == [(1, b"data")]
    assert "no certificate from shell 0" in second.logs[0][1]


@pytest.mark.parametrize("payload", [b"", b"abc", (1).to_bytes(4, "big"), (3).to_bytes(4, "big"), bytes(5)])
def test_only_peers_are_told_where_a_shell_listens(job: Job, payload: bytes) -> None:
    answers: list[int] = []
    job.desks[0].call(LINK, 1, payload, lambda error, _answer: answers.append(error))
    job.until(lambda: answers)
    assert answers == [errno.EPROTO]


def test_a_lost_shell_is_not_written_to(job: Job) -> None:
    first, second, _ = job.desks
    first.lateral.send(1, (b"one",))
    first.lateral.shell_lost(1)
    first.lateral.send(2, (b"two",))
    job.until(lambda: job.desks[2].got)
    assert not second.got and not first.instead and not first.logs
