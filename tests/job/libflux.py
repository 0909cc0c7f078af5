"""Flux's own reading and writing of its text formats, to hold ours against: its C libraries, by ctypes.

`PRESENT` says whether they are there. Functions return None for a text that Flux refuses.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from shutil import which
from typing import Any

FORMS = {"wrapped": 1, "pmi": 2, "raw": 4, "raw-deranged": 8}  # of taskmap_encode
_RANGES = 4  # of idset_encode
_LIBC = ctypes.CDLL(None)
_LIBC.free.argtypes = (ctypes.c_void_p,)


def _load(name: str) -> Any:
    """Load the library beside the `flux` on PATH, else where the system finds it."""
    flux = which("flux")
    if flux is None:
        return None
    beside = Path(flux).resolve().parent.parent / "lib" / name
    try:
        return ctypes.CDLL(str(beside) if beside.exists() else name)
    except OSError:
        return None


_TASKMAP, _HOSTLIST, _IDSET = (_load(f"libflux-{name}.so.1") for name in ("taskmap", "hostlist", "idset"))
PRESENT = all((_TASKMAP, _HOSTLIST, _IDSET))


def taskmap(text: str, form: str) -> str | None:
    """Read a task map in any form and write it in one."""
    error = ctypes.create_string_buffer(256)
    map_ = _call(_TASKMAP.taskmap_decode, text.encode(), error)
    return map_ and _text(_TASKMAP.taskmap_encode, _TASKMAP.taskmap_destroy, map_, FORMS[form])


def idset(text: str) -> str | None:
    """Read an idset and write it with ranges."""
    ids = _call(_IDSET.idset_decode, text.encode())
    return ids and _text(_IDSET.idset_encode, _IDSET.idset_destroy, ids, _RANGES)


def expand(text: str) -> tuple[str, ...] | None:
    """Read a host list."""
    hosts = _call(_HOSTLIST.hostlist_decode, text.encode())
    if hosts is None:
        return None
    nth = _HOSTLIST.hostlist_nth
    nth.restype = ctypes.c_char_p
    names = tuple(nth(hosts, at).decode() for at in range(_HOSTLIST.hostlist_count(hosts)))
    _HOSTLIST.hostlist_destroy(hosts)
    return names


def compress(names: list[str]) -> str | None:
    """Write a host list."""
    hosts = _call(_HOSTLIST.hostlist_create)
    for name in names:
        _HOSTLIST.hostlist_append(hosts, name.encode())
    return _text(_HOSTLIST.hostlist_encode, _HOSTLIST.hostlist_destroy, hosts)


def _call(function: Any, *arguments: Any) -> ctypes.c_void_p | None:
    function.restype = ctypes.c_void_p
    found = function(*arguments)
    return ctypes.c_void_p(found) if found else None


def _text(encode: Any, destroy: Any, thing: ctypes.c_void_p, *arguments: int) -> str | None:
    """Encode a thing and free it."""
    found = _call(encode, thing, *arguments)
    destroy(thing)
    if found is None:
        return None
    text = ctypes.string_at(found).decode()
    _LIBC.free(found)
    return text
