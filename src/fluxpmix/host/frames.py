"""What hosts say to each other: a small binary frame, and the checks that a frame must pass.

`collective.py` and later capabilities send `Message`s; a carrier moves frames. All numbers are in network
order. A blob is bytes all the way: it is neither copied nor looked at here.

    version  tag  operation  status  generation  digest  blocks | shell length ... | blob blob ...
    u8       u8   u16        i32     u32         16 B    u32    | u32   u64

A block may be a run: the blobs of that shell and of those that follow it, joined.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from fluxpmix.host.effects import Buffer, Frame
from fluxpmix.pmix.enumeration import IntEnum
from fluxpmix.pmix.record import Record

VERSION = 3
DIGEST_SIZE = 16
NO_DIGEST = bytes(DIGEST_SIZE)  # of what is no collective
_HEADER = struct.Struct("!BBHiI16sI")
_BLOCK = struct.Struct("!IQ")


class Tag(IntEnum):
    """What a frame is for."""

    UP = 1  # a subtree's contributions to a collective
    DOWN = 2  # its result
    FAIL = 3  # it ended without one
    STEP = 20  # what peers have gathered of a collective without a tree
    LARGE = 21  # a subtree has contributed to a collective, and it is too much for the tree
    AMONG = 22  # so let it move among peers
    PROBE = 4  # are you going to contribute? the block holds the participants
    DIED = 5  # a process is gone that had not finalized; the block holds its rank
    ASK = 6  # direct modex: what a process put is wanted
    DATA = 7  # and here it is, or why not
    PUBLISH = 8  # to the owner of a key: keep these values
    LOOKUP = 9  # to the owner of a key: what is there, or comes
    UNPUBLISH = 10  # to the owner of a key: drop them
    STORED = 11  # what came of the publishing or unpublishing
    FOUND = 12  # what came of a lookup, all or a part
    CANCEL = 13  # a lookup that waits is over
    PURGE = 14  # a process or application has ended: drop what it published for its life
    TABLE = 15  # query: what do you know of your processes?
    ROWS = 16  # this
    EVENT = 30  # an event for processes of many shells
    ENDS = 31  # to the first shell: processes of mine have ended
    ENDED = 32  # from it: processes have ended
    CONTROL = 33  # job control: signal these processes of yours
    CONTROLLED = 34  # it is done, or they are not there
    WANT = 50  # I/O forwarding: what this shell's tasks print is wanted
    OUTPUT = 51  # here it is
    INPUT = 52  # for the standard input of these processes
    TAKEN = 53  # they have it, or it was not possible
    READY = 54  # to the first shell: all processes here are stopped where a debugger wants them
    CHECK = 55  # did you make this credential?
    CHECKED = 56  # whose it is, or that it is none
    MEMBER = 41  # a process is gone that was a member of a group
    GONE = 42  # group: which of your processes are gone?
    ABSENT = 43  # these
    PSET_WANTED = 44  # to the first shell: define this process set
    PSET_DECIDED = 45  # from it: it is defined, or why not
    PSET = 46  # from the first shell: know this process set, or know it no longer
    PSET_KNOWN = 47  # to it: done
    PSET_LEFT = 48  # to it: no member of this process set is alive here
    SPAWN = 60  # to the first shell: start a job
    SPAWNED = 61  # it runs, or why not
    LAUNCH = 62  # from the first shell to all: a step in the starting of a job
    LAUNCHED = 63  # the step is done here, or why not
    CHECKPOINT = 70  # a step in the taking of a checkpoint
    CHECKPOINTED = 71  # it is done here, or why not
    RESTART = 72  # a step in the restart of processes
    RESTARTED = 73  # it is done here, or why not


class FrameError(ValueError):
    """A frame that no host of this version would send."""


class Message(Record):
    """One frame. `blocks` are (shell rank, blob), in the order of the shells."""

    tag: Tag
    operation: int
    generation: int
    digest: bytes
    status: int = 0
    blocks: tuple[tuple[int, Buffer], ...] = ()


def encode(message: Message) -> Frame:
    """Return a message as parts to send: the header with the block table, then the blobs themselves."""
    table = [(shell, len(blob)) for shell, blob in message.blocks]
    return (_head(message, table), *(blob for _, blob in message.blocks if len(blob)))


def encode_runs(message: Message, runs: Sequence[tuple[int, Sequence[Buffer]]]) -> Frame:
    """Return a message, which has no blocks, with these: each a shell and buffers that make one block.

    The runs are in the order of the shells; one without a byte is left out.
    """
    sized = [(shell, sum(map(len, parts)), parts) for shell, parts in runs]
    table = [(shell, length) for shell, length, _ in sized if length]
    return (_head(message, table), *(part for _, _, parts in sized for part in parts if len(part)))


def _head(message: Message, table: Sequence[tuple[int, int]]) -> bytes:
    """Return a frame's header, with the table of its blocks."""
    header = bytearray(
        _HEADER.pack(
            VERSION,
            message.tag,
            message.operation,
            message.status,
            message.generation,
            message.digest,
            len(table),
        )
    )
    for shell, length in table:
        header += _BLOCK.pack(shell, length)
    return bytes(header)


def decode(frame: Buffer, shells: int) -> Message:
    """Return the message in a frame; blobs are views of it. `shells` is the size of the job.

    Raises `FrameError` that says what is wrong.
    """
    view = memoryview(frame)
    if len(view) < _HEADER.size:
        raise FrameError(f"{len(view)} bytes are too few for a header")
    version, tag, operation, status, generation, digest, count = _HEADER.unpack_from(view)
    if version != VERSION:
        raise FrameError(f"version {version}, not {VERSION}: every shell must run the same fluxpmix")
    if tag not in _TAGS:
        raise FrameError(f"unknown tag {tag}")
    at = _HEADER.size + count * _BLOCK.size
    if count > shells or at > len(view):
        raise FrameError(f"a table of {count} blocks in {len(view)} bytes, for {shells} shells")
    blocks: list[tuple[int, Buffer]] = []
    last = -1
    for index in range(count):
        shell, length = _BLOCK.unpack_from(view, _HEADER.size + index * _BLOCK.size)
        if not last < shell < shells:
            raise FrameError(f"block of shell {shell} after that of {last}, in a job of {shells} shells")
        if length > len(view) - at:
            raise FrameError(f"block of shell {shell}: {length} bytes announced, {len(view) - at} left")
        blocks.append((shell, view[at : at + length]))
        last = shell
        at += length
    if at != len(view):
        raise FrameError(f"{len(view) - at} bytes too many")
    return Message(_TAGS[tag], operation, generation, digest, status, tuple(blocks))


_TAGS = {int(tag): tag for tag in Tag}
