"""Collectives that this host does not serve: each is answered with "not supported".

libpmix would say so itself where a host has no entry for them, but only to the last participant that calls:
the others wait for ever, and 4.2 uses memory that it has freed. Standard 4.2, section 17.3.
"""

from __future__ import annotations

from fluxpmix.host.effects import Effect, Reply
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.upcalls import Group


class Refusals:
    """What one shell refuses."""

    serves = (Group,)

    def upcall(self, upcall: Group, now: float, out: list[Effect]) -> None:
        """Say no, to all participants of this shell."""
        out.append(Reply(upcall.id, Status.ERR_NOT_SUPPORTED))
