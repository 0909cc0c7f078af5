"""What a connection says first: read without taking it, refused where it makes no sense, not waited for for ever."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from live import wait_for

from fluxpmix.pmix import greeting
from fluxpmix.pmix.greeting import Greeting, Kind, Waiting, parse
from fluxpmix.pmix.types import Proc


def said(kind: int, name: str = "", rank: int = 0, *, cred: bytes = b"", format: bytes = b"v4") -> bytes:
    """A first message, as libpmix writes it, without its header."""
    message = b"native\0" + struct.pack("!I", len(cred)) + cred + bytes([kind])
    if kind:
        message += struct.pack("!II", 1000, 1000)
    if name:
        message += name.encode() + b"\0" + struct.pack("!I", rank)
    return message + b"5.0.11\0" + format + b"\0\1hash\0"


def framed(message: bytes) -> bytes:
    return struct.pack("=iIII", -1, 0xFFFFFFFF, len(message), 0) + message


@pytest.mark.parametrize("cred", [b"", b"\0\1secret\0"])
def test_the_kind_and_the_name_are_read(cred: bytes) -> None:
    assert parse(said(0, "job", 3, cred=cred)) == Greeting("native", Kind.CLIENT, Proc("job", 3), (4, 0))
    assert parse(said(3, cred=cred)) == Greeting("native", Kind.TOOL, None, (4, 0))
    assert parse(said(4, "mine", 7, cred=cred)) == Greeting("native", Kind.NAMED_TOOL, Proc("mine", 7), (4, 0))


@pytest.mark.parametrize(("format", "version"), [(b"v61", (6, 1)), (b"v20", (2, 0)), (b"", (0, 0)), (b"new", (0, 0))])
def test_the_version_of_the_format_is_read(format: bytes, version: tuple[int, int]) -> None:
    assert parse(said(3, format=format)).format == version
    assert parse(said(4, "mine", 7, format=format)).format == version
    assert parse(b"native\0" + bytes(4) + bytes([2]) + bytes(8)).format == (0, 0)


@pytest.mark.parametrize(
    "message", [b"", b"native", b"native\0\0", b"native\0\xff\xff\xff\xff\0", said(0)[:14], said(99)]
)
def test_nonsense_is_a_value_error(message: bytes) -> None:
    with pytest.raises(ValueError):
        parse(message)


@pytest.fixture
def heard() -> list[tuple[int, Greeting]]:
    return []


@pytest.fixture
def waiting(heard: list[tuple[int, Greeting]]) -> Iterator[Waiting]:
    one = Waiting(lambda descriptor, what: heard.append((descriptor, what)))
    yield one
    one.close()
    for descriptor, _ in heard:
        os.close(descriptor)


def joined(waiting: Waiting) -> tuple[socket.socket, int]:
    ours, theirs = socket.socketpair()
    descriptor = theirs.detach()
    waiting.add(descriptor)
    return ours, descriptor


def test_whoever_has_said_all_of_it_is_heard_and_the_message_stays(
    waiting: Waiting, heard: list[tuple[int, Greeting]]
) -> None:
    ours, descriptor = joined(waiting)
    message = framed(said(4, "mine", 1))
    for byte in (message[:9], message[9:40]):
        ours.send(byte)
        assert not heard
    ours.send(message[40:])
    wait_for(lambda: heard, "the greeting")
    assert heard == [(descriptor, Greeting("native", Kind.NAMED_TOOL, Proc("mine", 1), (4, 0)))]
    assert os.read(descriptor, 1000) == message
    ours.close()


def test_one_that_is_silent_holds_up_nobody_and_is_closed_in_the_end(
    waiting: Waiting, heard: list[tuple[int, Greeting]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greeting, "_PATIENCE", 0.2)
    silent = [joined(waiting)[0] for _ in range(5)]
    ours, descriptor = joined(waiting)
    ours.send(framed(said(3)))
    wait_for(lambda: heard, "the greeting")
    for one in silent:
        one.settimeout(60)
        assert one.recv(1) == b"", "it is hung up on"
        one.close()
    assert [each for each, _ in heard] == [descriptor]
    ours.close()


@pytest.mark.parametrize("nonsense", [framed(b"x"), struct.pack("=iIII", 0, 0, 1 << 30, 0), b"GET / HTTP/1.0\r\n\r\n"])
def test_one_that_talks_nonsense_is_hung_up_on(waiting: Waiting, nonsense: bytes) -> None:
    ours, _ = joined(waiting)
    ours.settimeout(60)
    ours.send(nonsense)
    with contextlib.suppress(ConnectionResetError):
        assert ours.recv(1) == b""
    ours.close()


def test_there_is_no_end_of_those_that_may_be_waited_for(waiting: Waiting) -> None:
    many = [joined(waiting)[0] for _ in range(greeting._MOST + 10)]
    many[0].settimeout(60)
    shut = sum(one.recv(1, socket.MSG_DONTWAIT) == b"" for one in many if _is_readable(one))
    assert shut == 10
    for one in many:
        one.close()


def _is_readable(one: socket.socket) -> bool:
    import select

    return bool(select.select([one], [], [], 0)[0])
