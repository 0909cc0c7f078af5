"""Holding what a client read back against what it must read, for every carrier's readback test."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

NOT_FOUND = "error: PMIx_Get: PMIX_ERR_NOT_FOUND (-46)"
INVALID_SESSION = 0xFFFFFFFF
# (server, client, what), the value that is read instead, and why. Versions are patterns, as of file names.
KeptBack = tuple[str, str, str, Any, str]
KEPT_BACK: list[KeptBack] = [
    ("*", "*", "job - PMIX_(NODE|PROC)_MAP", NOT_FOUND, "libpmix takes the maps apart"),
    ("*", "*", "job - PMIX_MODEL_LIBRARY_NAME", NOT_FOUND, "libpmix gives it to its own support of that model"),
    ("*", "*", "node .* PMIX_NODEID", NOT_FOUND, "a node's id is asked of a process; of a host it selects"),
    ("*", "*", "proc .* PMIX_RANK", NOT_FOUND, "the first of an array says whose it is; repeated for local ranks only"),
    ("*", "4.2", "node .* PMIX_HOSTNAME", NOT_FOUND, "4.2 takes it for the question"),
    ("*", "4.2", "app .* PMIX_APPNUM", NOT_FOUND, "4.2 takes it for the question"),
    ("*", "4.2", "proc .* PMIX_NODEID", NOT_FOUND, "4.2 knows it of its own node's processes only"),
    ("[56].*", "4.2", "(session|job) - PMIX_SESSION_ID", NOT_FOUND, "from 5.0 on older clients are sent no session"),
]


def matches(value: Any, wanted: Any) -> bool:
    """Whether a value is the one wanted: equal and of its type, or of a pattern or type that is given."""
    if wanted is int:
        return isinstance(value, int) and value != INVALID_SESSION
    if isinstance(wanted, re.Pattern):
        return isinstance(value, str) and wanted.fullmatch(value) is not None
    if isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(matches, value, wanted))
    return type(value) is type(wanted) and value == wanted


def wrong(
    found: Mapping[str, Any], wanted: Mapping[str, Any], server: str, client: str, table: Sequence[KeptBack]
) -> dict[str, tuple[Any, Any]]:
    """Return what was read and what should have been, where they differ and `table` does not say why."""
    assert found.keys() == wanted.keys()

    def kept_back(name: str) -> bool:
        return any(
            fnmatchcase(server, who)
            and fnmatchcase(client, whom)
            and re.fullmatch(what, name)
            and found[name] == instead
            for who, whom, what, instead, _why in table
        )

    return {
        name: (found[name], wanted[name])
        for name in wanted
        if not matches(found[name], wanted[name]) and not kept_back(name)
    }
