"""Processes that are started stopped, for a debugger: who is there, and letting them go. Standard 4.2, section 18.4.

With PMIX_DEBUG_STOP_IN_INIT libpmix holds a process in PMIx_Init, with PMIX_DEBUG_STOP_IN_APP the process holds
itself; both tell the server by PMIX_READY_FOR_DEBUG, and wait for PMIX_DEBUGGER_RELEASE. With
PMIX_DEBUG_STOP_ON_EXEC the carrier starts it stopped. When all processes of the job are there, every shell's tools
are told, those too that connect later: by PMIX_READY_FOR_DEBUG of the whole namespace. A release reaches those
in PMIx by libpmix; those that are stopped are continued here. (A server of libpmix 4.2 keeps it to itself that
a process is ready in PMIx_Init.)

    READY  to the first shell: all processes of this shell are at their stop
"""

from __future__ import annotations

from fluxpmix.host.capability import Capability
from fluxpmix.host.directory import Directory, UnknownProc
from fluxpmix.host.effects import Effect, Send, Signal
from fluxpmix.host.event import Events, targets
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.job.model import APP, EXEC, INIT, Job
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, Info, Infos, Proc, find

SIGCONT = 18
STOPS = {
    EXEC: attributes.DEBUG_STOP_ON_EXEC,
    INIT: attributes.DEBUG_STOP_IN_INIT,
    APP: attributes.DEBUG_STOP_IN_APP,
}


class Debugging(Capability):
    """The stopped processes of one shell."""

    def __init__(self, events: Events, directory: Directory, job: Job, me: int, stop: str | None) -> None:
        """`stop` is where the job's processes stop: one of `STOPS`, or None."""
        self._events = events
        self._directory = directory
        self._job = job
        self._me = me
        self._stop = stop
        self._missing = set(job.ranks(me))  # of this shell: not at their stop
        self._stopped: set[int] = set()  # by the carrier
        self._heard: list[tuple[int, Proc, Infos]] = []
        self._first = min(directory.first.occupied)
        # At the first shell: of which not all are at their stop. No other keeps it, that a job's memory is linear.
        self._shells = set(directory.first.occupied) if me == self._first else set()
        self._breakpoint = "exec" if stop == EXEC else ""

    def started(self, rank: int, pid: int) -> None:
        if self._stop == EXEC and rank in self._missing:
            self._stopped.add(rank)
            self._heard.append((int(Status.READY_FOR_DEBUG), Proc(self._job.nspace, rank), ()))

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        self._stopped.discard(rank)

    def on_event(self, status: int, source: Proc, infos: Infos) -> None:
        self._heard.append((status, source, infos))

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        if self._me != self._first or message.blocks:
            return "processes that are ready, told to a shell that does not count them"
        self._ready(source, out)
        return None

    def act(self, out: list[Effect]) -> None:
        """Do what the events that were heard of ask for; `host.py` calls it after each step."""
        heard, self._heard = self._heard, []
        for status, source, infos in heard:
            if status == Status.READY_FOR_DEBUG:
                self._at_stop(source, infos, out)
            else:
                self._release(source, infos, out)

    # -- inside ------------------------------------------------------------------------------------

    def _at_stop(self, source: Proc, infos: Infos, out: list[Effect]) -> None:
        if source.nspace != self._job.nspace or source.rank not in self._missing:
            return
        self._missing.discard(source.rank)
        where = find(infos, attributes.BREAKPOINT)
        self._breakpoint = where if isinstance(where, str) else self._breakpoint
        if self._missing:
            return
        if self._me == self._first:
            self._ready(self._me, out)
        else:
            out.append(Send(self._first, encode(Message(Tag.READY, 0, 0, NO_DIGEST))))

    def _ready(self, shell: int, out: list[Effect]) -> None:
        if shell in self._shells:
            self._shells.discard(shell)
            if not self._shells:
                infos = [Info(attributes.NSPACE, self._job.nspace), Info(attributes.EVENT_NON_DEFAULT, True)]
                if self._breakpoint:
                    infos.append(Info(attributes.BREAKPOINT, self._breakpoint))
                job = Proc(self._job.nspace, RANK_WILDCARD)
                self._events.tell_all(int(Status.READY_FOR_DEBUG), job, tuple(infos), out)

    def _release(self, source: Proc, infos: Infos, out: list[Effect]) -> None:
        if not self._stopped:
            return
        meant = targets(infos) or (Proc(self._job.nspace, RANK_WILDCARD),)
        try:
            ranks = self._stopped.intersection(self._directory.ranks_on(meant, self._me))
        except UnknownProc:
            return
        if ranks:
            self._stopped -= ranks
            out.append(Signal(SIGCONT, tuple(sorted(ranks))))
