"""What each shell gives to the construction of a group, and how it travels: `group.py` has them exchanged."""

from __future__ import annotations

import struct

from fluxpmix.host import wire
from fluxpmix.pmix import attributes
from fluxpmix.pmix.record import Record
from fluxpmix.pmix.types import Infos, find, is_true
from fluxpmix.pmix.upcalls import Group

_LENGTH = struct.Struct("!Q")


class Entry(Record):
    """What a shell contributes to a construction."""

    name: str
    context: int  # proposed; that of the first shell counts
    wants_context: bool
    notifies: bool
    data: bytes
    leader: int = -1  # its number; -1: nobody here leads


def contribution(upcall: Group, context: int, leader: int) -> Entry:
    """Return what a shell contributes; libpmix joins the directives of all local members."""
    directives: Infos = upcall.directives
    data = find(directives, attributes.GROUP_ENDPT_DATA, b"")
    return Entry(
        upcall.group,
        context,
        is_true(directives, attributes.GROUP_ASSIGN_CONTEXT_ID),
        is_true(directives, attributes.GROUP_NOTIFY_TERMINATION),
        bytes(data) if isinstance(data, bytes | bytearray) else b"",
        leader,
    )


def packed(entry: Entry) -> bytes:
    """Return what another shell reads with `unpacked`."""
    fields = (entry.name, entry.context, entry.wants_context, entry.notifies, entry.data, entry.leader)
    body = wire.encode(fields)
    return _LENGTH.pack(len(body)) + body


def unpacked(blobs: bytes) -> list[Entry]:
    """Return the contributions of all shells, in their order. Raises `wire.WireError`."""
    entries = []
    at = 0
    while at < len(blobs):
        if at + _LENGTH.size > len(blobs):
            raise wire.WireError("a contribution that is cut short")
        (length,) = _LENGTH.unpack_from(blobs, at)
        at += _LENGTH.size
        fields = wire.decode(blobs[at : at + length])
        if not isinstance(fields, tuple) or [type(each) for each in fields] != [str, int, bool, bool, bytes, int]:
            raise wire.WireError("a contribution to something else")
        entries.append(Entry(*fields))
        at += length
    return entries
