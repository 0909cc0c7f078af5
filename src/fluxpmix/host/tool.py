"""Tools: processes that nobody started here connect, are given a name, and leave. Standard 4.2, chapter 18.

`host.py` hands over each ToolConnected upcall; who may connect at all the carrier's gate has decided by then
(`shell/local/guard.py`). A tool may bring its own name, but not that of one of the job's processes or of another tool;
one that a task of the job turns itself into keeps the task's. What a tool asks for after that are the
upcalls that clients make too.
"""

from __future__ import annotations

from fluxpmix.host.capability import Capability
from fluxpmix.host.effects import Effect, Forget, Level, Log, Reply
from fluxpmix.job.model import Job
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Proc, find
from fluxpmix.pmix.upcalls import ToolConnected


class Tools(Capability):
    """The tools of one shell."""

    def __init__(self, job: Job, me: int) -> None:
        self._job = job
        self._me = me
        self._count = 0
        self.connected_tools: set[Proc] = set()

    def upcall(self, upcall: ToolConnected, now: float, out: list[Effect]) -> None:
        """Give a tool its name."""
        told = upcall.directives
        nspace, rank = find(told, attributes.NSPACE), find(told, attributes.RANK)
        if isinstance(nspace, str) and nspace and isinstance(rank, int):
            proc = Proc(nspace, rank)
        else:
            self._count += 1
            proc = Proc(f"{self._job.nspace}.tool.{self._me}.{self._count}", 0)
        if proc in self.connected_tools or proc.nspace == f"{self._job.nspace}.shell":
            out.append(Log(Level.WARNING, f"a tool calls itself {proc}, which there is already: refused"))
            out.append(Reply(upcall.id, int(Status.ERR_EXISTS)))
            return
        self.connected_tools.add(proc)
        line = find(told, attributes.CMD_LINE)
        pid = find(told, attributes.PROC_PID)
        what = f" ({line})" if isinstance(line, str) and line else ""
        out.append(Log(Level.DEBUG, f"tool {proc} has connected: process {pid}{what}"))
        out.append(Reply(upcall.id, int(Status.SUCCESS), proc))

    def left(self, proc: Proc, out: list[Effect]) -> bool:
        """A peer is gone. Returns whether it was a tool."""
        if proc not in self.connected_tools:
            return False
        self.connected_tools.discard(proc)
        out.append(Log(Level.DEBUG, f"tool {proc} has left"))
        if proc.nspace != self._job.nspace and all(each.nspace != proc.nspace for each in self.connected_tools):
            out.append(Forget(proc.nspace))  # or libpmix would take the next of this name for an impostor
        return True
