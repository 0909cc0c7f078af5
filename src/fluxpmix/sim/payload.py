"""What shells of a simulation have to say, and whether all were told the same.

Hosts neither copy nor look at blobs. So a blob may be a stand-in of 12 bytes that says whose it is and counts
as many bytes as it stands for; stand-ins of neighbours become one on the way, as the bytes would lie side by
side. That is what lets 65,536 shells gather 256 MiB each in one process. A wrong, missing, doubled or
misplaced blob shows, because then the stand-ins do not join. `RealBytes` moves what it says, for as many shells as
memory holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from struct import Struct, iter_unpack

from fluxpmix.host import frames
from fluxpmix.host.effects import Buffer, Frame
from fluxpmix.host.frames import Message, Tag

_RUN = Struct("!III")  # of which fence, from which shell on, of how many shells
_EMPTY = len(b"".join(frames.encode(Message(Tag.FAIL, 0, 0, frames.NO_DIGEST))))
_ENTRY = len(b"".join(frames.encode(Message(Tag.UP, 0, 0, frames.NO_DIGEST, 0, ((0, b""),))))) - _EMPTY
_CARRIES = (Tag.UP, Tag.DOWN, Tag.STEP, Tag.DATA)


class StandIns:
    """Blobs of `size` bytes each that are only told of."""

    def __init__(self, shells: int, size: int) -> None:
        self._shells = shells
        self._size = size
        self._last: tuple[Frame, Buffer, int] = ((), b"", 0)

    def blob(self, fence: int, shell: int) -> bytes:
        """Return what stands for a shell's blob."""
        return _RUN.pack(fence, shell, 1)

    def pack(self, frame: Frame) -> tuple[Buffer, int]:
        """Return what arrives when a frame is sent, and how many bytes that counts as."""
        if frame is self._last[0]:
            return self._last[1:]
        wire = frame[0] if len(frame) == 1 else b"".join(frame)
        message = frames.decode(wire, self._shells)
        if message.tag not in _CARRIES:
            return wire, len(wire)
        blocks = tuple([(shell, _joined(blob)) for shell, blob in message.blocks])
        if len(frame) > 2 or len(blocks) > 1:
            head = (message.tag, message.operation, message.generation, message.digest, message.status)
            wire = b"".join(frames.encode(Message(*head, blocks)))
        count = sum([of for _, blob in blocks for _, _, of in _RUN.iter_unpack(blob)])
        self._last = frame, wire, _EMPTY + len(blocks) * _ENTRY + count * self._size
        return self._last[1:]

    def is_whole(self, fence: int, result: Sequence[Buffer]) -> bool:
        """Whether a fence's result is the blob of every shell, in their order."""
        return _joined(b"".join(result)) == _RUN.pack(fence, 0, self._shells)

    def is_one(self, fence: int, shell: int, result: Sequence[Buffer]) -> bool:
        """Whether a result is the blob of one shell."""
        return b"".join(result) == self.blob(fence, shell)


class RealBytes:
    """Blobs of `size` bytes, every one its own."""

    def __init__(self, shells: int, size: int) -> None:
        self._shells = shells
        self._size = size
        self._whole: tuple[int, bytes] = (-1, b"")
        self._right: Buffer = b""  # what was last found to be right: over a tree all shells look at the same
        self._last: tuple[Frame, Buffer] = ((), b"")

    def blob(self, fence: int, shell: int) -> bytes:
        """Return a shell's blob."""
        digest = blake2b(b"%d.%d" % (fence, shell)).digest()
        return (digest * (self._size // len(digest) + 1))[: self._size]

    def pack(self, frame: Frame) -> tuple[Buffer, int]:
        """Return what arrives when a frame is sent, and its size."""
        if frame is not self._last[0]:
            self._last = frame, frame[0] if len(frame) == 1 else b"".join(frame)
        wire = self._last[1]
        return wire, len(wire)

    def is_whole(self, fence: int, result: Sequence[Buffer]) -> bool:
        """Whether a fence's result is the blob of every shell, in their order."""
        if self._whole[0] != fence:
            self._whole = fence, b"".join([self.blob(fence, shell) for shell in range(self._shells)])
            self._right = b""
        same = result[0].obj if len(result) == 1 and isinstance(result[0], memoryview) else None
        ends = len(result[0]) == len(self._whole[1]) and result[0][:64] == self._whole[1][:64] if result else False
        if same is not None and same is self._right and ends:
            return True
        right = (result[0] if len(result) == 1 else b"".join(result)) == self._whole[1]
        if right and isinstance(same, bytes):
            self._right = same
        return right

    def is_one(self, fence: int, shell: int, result: Sequence[Buffer]) -> bool:
        """Whether a result is the blob of one shell."""
        return b"".join(result) == self.blob(fence, shell)


def _joined(blob: Buffer) -> bytes:
    """Make one stand-in of those that lie side by side and are neighbours."""
    if len(blob) == _RUN.size:
        return bytes(blob)
    runs: list[tuple[int, int, int]] = []
    for fence, first, count in iter_unpack(_RUN.format, blob):
        if runs and runs[-1][0] == fence and runs[-1][1] + runs[-1][2] == first:
            runs[-1] = (fence, runs[-1][1], runs[-1][2] + count)
        else:
            runs.append((fence, first, count))
    return b"".join([_RUN.pack(*run) for run in runs])
