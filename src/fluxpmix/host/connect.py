"""PMIx_Connect and PMIx_Disconnect over shells: Standard 4.2, section 11.3, and 17.3.14 and 15.

`host.py` hands over each upcall once all local participants have called. Every shell knows all of the job's
processes, so that connecting them is a barrier, after which the set counts as connected; disconnecting is
one after which it does not.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.host.collective import Collectives
from fluxpmix.host.directory import Directory, UnknownProc
from fluxpmix.host.effects import Buffer, Effect, Level, Log, Reply
from fluxpmix.host.fence import local_status, timeout
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.upcalls import Connect, Disconnect

CONNECT, DISCONNECT = 2, 3  # operations, beside a fence's


class Connects:
    """The connections of one shell."""

    serves = (Connect, Disconnect)

    def __init__(self, collectives: Collectives, directory: Directory, default_timeout: float | None) -> None:
        self._collectives = collectives
        self._directory = directory
        self._default_timeout = default_timeout
        self._connected: set[bytes] = set()  # the signatures of connected sets

    def upcall(self, upcall: Connect | Disconnect, now: float, out: list[Effect]) -> None:
        """Enter this shell's part; the reply comes when all shells have entered theirs."""
        connecting = isinstance(upcall, Connect)
        try:
            signature = self._directory.signature(upcall.procs)
            if not connecting and signature not in self._connected:
                out.append(Log(Level.ERROR, "disconnect of processes that are not connected"))
                out.append(Reply(upcall.id, Status.ERR_INVALID_OPERATION))
                return

            def done(status: int, _blobs: Sequence[Buffer]) -> Effect:
                if status == Status.SUCCESS:
                    (self._connected.add if connecting else self._connected.discard)(signature)
                return Reply(upcall.id, status)

            self._collectives.contribute(
                CONNECT if connecting else DISCONNECT,
                upcall.procs,
                None,
                local_status(upcall.directives),
                timeout(upcall.directives, self._default_timeout),
                done,
                now,
                out,
            )
        except UnknownProc as error:
            out.append(Log(Level.ERROR, f"{'connect' if connecting else 'disconnect'}: {error}"))
            out.append(Reply(upcall.id, error.status))
        except ValueError as error:
            out.append(Log(Level.ERROR, f"{'connect' if connecting else 'disconnect'}: {error}"))
            out.append(Reply(upcall.id, Status.ERR_BAD_PARAM))
