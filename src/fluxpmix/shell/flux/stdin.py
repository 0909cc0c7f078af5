"""Input for this shell's tasks that PMIx_IOF_push brings. Standard 4.2, section 18.5.

flux-shell writes it to them, and keeps up to 32 MiB for a task that does not read yet; as much again waits here. A
task that has closed its end flux-shell does not know of, but goes round for ever trying to write; so before it is given
anything the kernel is asked whether the other end is still there (sock_diag(7)).
"""

from __future__ import annotations

import os
from _socket import SOCK_RAW, socket, socketpair
from collections import deque
from collections.abc import Mapping, Sequence
from errno import ENOSPC
from struct import Struct

from fluxpmix.host.effects import Level
from fluxpmix.pmix.status import Status
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.carrying import input_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PIECE = 1 << 20  # bytes that flux-shell is given at once
_FALLEN_BEHIND = 32 << 20  # bytes that wait here for one task; then it gets no more
_PAUSE = 0.02  # seconds between attempts to give flux-shell what waits
_NETLINK, _SOCK_DIAG = 16, 4  # AF_NETLINK, NETLINK_SOCK_DIAG
_BY_FAMILY, _REQUEST, _ERROR = 20, 1, 2  # SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, NLMSG_ERROR
_QUESTION = Struct("=IHHIIBBHIIIII")  # nlmsghdr; unix_diag_req: family, states, inode, what to show, cookie
_HEADER = Struct("=IHHII")
_ANY = 0xFFFFFFFF


class TaskInputs:
    """The standard inputs of a shell's tasks.

    `ends` has the process of each task by its rank, and the inode of what that read when it began; None: it had closed
    it by then, perhaps.
    """

    def __init__(self, api: Shell, ends: Mapping[int, tuple[int, int | None]]) -> None:
        self._api = api
        self._ends = ends
        self._kernel_knows = _knows()
        self._queues: dict[int, deque[bytes]] = {}  # by rank: what flux-shell does not take yet
        self._cut: set[int] = set()  # tasks that get no more
        self._timer: Any = None

    def feed(self, ranks: Sequence[int], data: bytes) -> int:
        """Give data to tasks, b"": the end. Returns a PMIx status: success where one of them takes it."""
        pieces = [data[at : at + _PIECE] for at in range(0, len(data), _PIECE)] or [b""]
        taken = [self._give(rank, pieces) for rank in ranks if rank not in self._cut and self._is_open(rank)]
        if self._queues and self._timer is None:
            self._timer = self._api.timer(self._flush)
            self._api.set_timer(self._timer, _PAUSE)
        return int(Status.SUCCESS if any(taken) else Status.ERR_NOT_AVAILABLE)

    def close(self) -> None:
        """Nothing is given to anybody any more."""
        self._queues.clear()
        if self._timer is not None:
            self._api.stop_watching(self._timer)
            self._timer = None

    def _give(self, rank: int, pieces: Sequence[bytes]) -> bool:
        """Give a task what flux-shell takes, and keep the rest. Returns whether it has it, or will."""
        queue = self._queues.get(rank)
        for at, piece in enumerate(() if queue else pieces):
            error = self._api.feed(rank, piece)
            if error == ENOSPC:
                pieces, queue = pieces[at:], deque()
                break
            if error:
                return False
        if queue is None:
            return True
        queue.extend(pieces)
        self._queues[rank] = queue
        if sum(map(len, queue)) > _FALLEN_BEHIND:
            self._cut_off(rank)
            return False
        return True

    def _flush(self) -> None:
        """Try again to give flux-shell what waits."""
        for rank, queue in list(self._queues.items()):
            error = 0
            while queue and not error:
                error = self._api.feed(rank, queue[0])
                if not error:
                    queue.popleft()
            if error != ENOSPC:
                del self._queues[rank]
        if self._queues:
            self._api.set_timer(self._timer, _PAUSE)
        else:
            self.close()

    def _cut_off(self, rank: int) -> None:
        """End a task's input that it does not read: others must not wait for it."""
        del self._queues[rank]
        self._cut.add(rank)
        self._api.feed(rank, b"")
        self._api.log(
            Level.WARNING,
            f"task {rank} does not read its standard input: 64 MiB wait for it, it gets no more; "
            "push to those tasks that read",
        )

    def _is_open(self, rank: int) -> bool:
        pid, inode = self._ends.get(rank, (0, None))
        if inode is None:  # it may have closed it before it was looked
            inode = input_of(pid)
        return inode is not None and (not self._kernel_knows or _exists(inode))


def _knows() -> bool:
    """Whether this kernel says which sockets there are."""
    ours, theirs = socketpair()
    try:
        return _exists(os.fstat(ours.fileno()).st_ino)
    except OSError:
        return False
    finally:
        ours.close()
        theirs.close()


def _exists(inode: int) -> bool:
    """Whether there is a local socket of this inode. Raises OSError where the kernel does not tell."""
    kernel = socket(_NETLINK, SOCK_RAW, _SOCK_DIAG)
    try:
        kernel.send(
            _QUESTION.pack(_QUESTION.size, _BY_FAMILY, _REQUEST, 1, 0, 1, 0, 0, _ANY, inode & _ANY, 0, _ANY, _ANY)
        )
        _, kind, *_ = _HEADER.unpack_from(kernel.recv(4096))
    finally:
        kernel.close()
    return bool(kind != _ERROR)
