"""What shells say to each other, as bytes: what is too large is refused by name, what is damaged is told apart."""

from __future__ import annotations

import mmap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxpmix.shell.flux import service
from fluxpmix.shell.flux.service import FRAME, LARGEST, LOST, SETUP, BadMessage, Peers, TooLarge


class Mailbox:
    """Keeps what is sent: one end of the shell's API, which carries bytes and does not look at them."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, int, bytes]] = []

    def serve(self, topic: bytes, call: Any) -> None:
        pass

    def send(self, topic: bytes, broker: int, payload: bytes) -> None:
        self.sent.append((topic, broker, payload))


def peers(rank: int, box: Mailbox) -> Peers:
    return Peers(box, rank, (3, 5, 8), "0-shell-fXYZ", lambda *_: None)  # type: ignore[arg-type]


@given(st.binary(max_size=300), st.integers(0, 300))
def test_a_message_comes_back_as_it_was_sent(payload: bytes, cut: int) -> None:
    box = Mailbox()
    size = peers(1, box).send(0, FRAME, (payload[:cut], payload[cut:]))
    ((topic, broker, sent),) = box.sent
    assert (topic, broker, size) == (b"0-shell-fXYZ.pmix-message", 3, len(sent))
    kind, shell, found = peers(0, box).parse(sent)
    assert (kind, shell, bytes(found)) == (FRAME, 1, payload)


@given(st.binary(max_size=40))
def test_any_other_bytes_are_bad_messages(text: bytes) -> None:
    with pytest.raises(BadMessage):
        peers(0, Mailbox()).parse(text)


@given(st.sampled_from([FRAME, SETUP, LOST]), st.integers(0, 5), st.integers(0, 11), st.integers(0, 255))
def test_a_damaged_header_never_names_a_shell_that_is_no_peer(kind: int, shell: int, at: int, value: int) -> None:
    message = bytearray(service._HEADER.pack(service._MAGIC, service._VERSION, kind, shell))
    message[at] = value
    try:
        found, sender, payload = peers(0, Mailbox()).parse(bytes(message))
    except BadMessage as error:
        assert str(error)
    else:
        assert sender in (1, 2) and found == FRAME and not len(payload), "only shell 0 sends the others"


def test_a_message_that_flux_cannot_carry_is_refused_with_its_limit_and_the_remedy() -> None:
    box = Mailbox()
    # None of the memory is ever touched.
    with mmap.mmap(-1, LARGEST) as memory, pytest.raises(TooLarge) as refused:
        peers(1, box).send(0, FRAME, (memory, b"and the header"))  # type: ignore[arg-type]
    text = str(refused.value)
    assert str(LARGEST) in text and "to shell 0" in text and "without PMIX_COLLECT_DATA" in text
    assert not box.sent
