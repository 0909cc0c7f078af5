"""An open request to publish, look up or unpublish (`datastore.py`): who has yet to answer, and what came."""

from __future__ import annotations

from fluxpmix.host.frames import Tag
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.upcalls import Lookup, Publish, Unpublish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.types import Published

SUCCESS = int(Status.SUCCESS)
DIED = int(Status.ERR_PROC_TERM_WO_SYNC)
LOST = int(Status.ERR_LOST_CONNECTION)


class Open:
    """A request of a process of this shell."""

    __slots__ = (
        *("answers", "call", "deadline", "denied", "found", "keys", "lent"),
        *("needed", "owners", "proc", "tag", "upcall"),
    )

    def __init__(self, upcall: Publish | Lookup | Unpublish, tag: Tag, deadline: float | None) -> None:
        self.call = upcall
        self.upcall = upcall.id
        self.proc = upcall.proc
        self.tag = tag
        self.deadline = deadline
        self.owners: set[int] = set()
        self.answers: dict[int, int] = {}  # by owner: a status
        self.keys: tuple[str, ...] = ()
        self.needed: int | None = None  # of a lookup that waits
        self.found: dict[str, Published] = {}
        self.denied: set[str] = set()
        self.lent: list[tuple[int, str, tuple[Any, ...]]] = []  # by owner: values that nobody else can read now

    def outcome(self) -> int:
        """Return the status of a request that all owners have answered."""
        worst = min(self.answers.values(), default=SUCCESS)
        if self.tag is Tag.UNPUBLISH:
            # Some of the keys may never have been there.
            return LOST if worst == LOST else max(self.answers.values(), default=SUCCESS)
        if self.tag is Tag.PUBLISH or len(self.found) == len(self.keys):
            return worst if self.tag is Tag.PUBLISH else SUCCESS
        if self.found:
            return int(Status.ERR_PARTIAL_SUCCESS)
        if worst != SUCCESS:
            return worst
        return int(Status.ERR_NO_PERMISSIONS if len(self.denied) == len(self.keys) else Status.ERR_NOT_FOUND)
