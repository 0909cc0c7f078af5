"""A request to spawn as it travels to the shell that decides: (asker, directives, applications). For `spawn.py`."""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.host import wire
from fluxpmix.pmix.types import AppSpec, Info, Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def portable(infos: Sequence[Info]) -> tuple[Info, ...]:
    """Return those infos that mean something on another node, or must."""
    found = []
    for info in infos:
        try:
            wire.encode(info)
        except wire.WireError:
            if info.required:
                raise
            continue
        found.append(info)
    return tuple(found)


def packed(app: AppSpec) -> tuple[Any, ...]:
    return app.command, app.argv, app.env, app.cwd, app.maxprocs, portable(app.directives)


def is_request(body: Any) -> bool:
    return (
        type(body) is tuple
        and len(body) == 3
        and isinstance(body[0], Proc)
        and _all(body[1], Info)
        and type(body[2]) is tuple
        and all(
            type(app) is tuple
            and len(app) == 6
            and type(app[0]) is str
            and _all(app[1], str)
            and _all(app[2], str)
            and isinstance(app[3], str | None)
            and type(app[4]) is int
            and _all(app[5], Info)
            for app in body[2]
        )
    )


def _all(items: Any, kind: type) -> bool:
    return type(items) is tuple and all(isinstance(item, kind) for item in items)
