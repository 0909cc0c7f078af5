"""What must hold of stand-ins: they count as the bytes they stand for, and show what is wrong."""

from __future__ import annotations

import pytest

from fluxpmix.host import frames
from fluxpmix.host.frames import Message, Tag
from fluxpmix.sim.payload import StandIns


def run(*blobs: bytes) -> tuple[bytes, ...]:
    return frames.encode_runs(Message(Tag.STEP, 1, 0, bytes(16)), [(0, blobs)])


def test_neighbours_become_one_and_count_as_all_of_them() -> None:
    payload = StandIns(8, 1000)
    few, size = payload.pack(run(payload.blob(0, 0)))
    many, larger = payload.pack(run(*(payload.blob(0, shell) for shell in range(8))))
    assert len(few) == len(many)
    assert larger - size == 7000


@pytest.mark.parametrize("shells", [range(7), (*range(7), 7, 7), (1, 0, *range(2, 8)), (*range(1, 8), 0), ()])
def test_what_is_missing_doubled_or_misplaced_is_not_whole(shells: tuple[int, ...]) -> None:
    payload = StandIns(8, 1000)
    assert payload.is_whole(0, [payload.blob(0, shell) for shell in range(8)])
    assert not payload.is_whole(0, [payload.blob(0, shell) for shell in shells])


def test_a_blob_of_another_fence_is_not_this_ones() -> None:
    payload = StandIns(4, 10)
    assert not payload.is_whole(1, [payload.blob(0 if shell == 2 else 1, shell) for shell in range(4)])
    assert payload.is_one(1, 2, [payload.blob(1, 2)]) and not payload.is_one(1, 2, [payload.blob(0, 2)])


def test_a_frame_that_carries_no_blob_counts_as_it_is() -> None:
    frame = frames.encode(Message(Tag.PROBE, 1, 0, bytes(16), 0, ((0, b"who?"),)))
    wire, size = StandIns(8, 1000).pack(frame)
    assert wire == b"".join(frame) and size == len(wire)
