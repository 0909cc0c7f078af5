"""What direct modex says between shells, and how to see whether a key is among what a rank has put.

`dmodex.py` sends and reads these:

    ASK   generation: the asker's token; block: rank u32, milliseconds u32 (0: no limit), then the keys
    DATA  generation: the token asked with; status; block: the blob
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from fluxpmix.host.effects import Buffer
from fluxpmix.pmix.types import MAX_KEYLEN

ANYTHING = b""  # instead of a key: whatever there is

_ASK = struct.Struct("!II")
_KEY = struct.Struct("!H")
_MOST_KEYS = 4096
_LONGEST = 0xFFFFFFFF  # milliseconds; longer is for ever
_ONE = b"\2"


def ask(rank: int, seconds: float | None, keys: Iterable[bytes]) -> bytes:
    """Return the block of an ASK for keys of `rank`, which are wanted for so long (None: for ever)."""
    milliseconds = 0 if seconds is None else max(1, int(seconds * 1000))
    body = bytearray(_ASK.pack(rank, milliseconds if milliseconds <= _LONGEST else 0))
    for key in sorted(keys):
        body += _KEY.pack(len(key)) + key
    return bytes(body)


def asked(body: bytes) -> tuple[int, float | None, tuple[bytes, ...]]:
    """Undo `ask`. Raises ValueError for a body that is no such thing."""
    if len(body) < _ASK.size:
        raise ValueError("no rank")
    rank, milliseconds = _ASK.unpack_from(body)
    keys: list[bytes] = []
    at = _ASK.size
    while at < len(body):
        if at + _KEY.size > len(body):
            raise ValueError("a key without its length")
        (length,) = _KEY.unpack_from(body, at)
        at += _KEY.size
        if length > MAX_KEYLEN or at + length > len(body) or len(keys) == _MOST_KEYS:
            raise ValueError(f"key {len(keys)} with {length} bytes")
        keys.append(body[at : at + length])
        at += length
    if not keys:
        raise ValueError("no keys")
    return rank, milliseconds / 1000 if milliseconds else None, tuple(keys)


def holds(blob: Buffer, key: bytes) -> bool:
    """Whether a key is in what libpmix packed: a count of 1, the key's length with its NUL, the key, ..."""
    if key == ANYTHING:
        return True
    data = bytes(blob)
    length = 2 * (len(key) + 1)  # as a signed number of which each byte has 7 bits
    coded = bytes((length,)) if length < 128 else bytes((length & 127 | 128, length >> 7))
    return (_ONE if data.startswith(_ONE) else b"") + coded + key + b"\0" in data
