"""Sets of ids as text, `0-3,7`: Flux RFC 22.

Used for task maps, core lists and option values. Ids are kept as sorted tuples of int.
"""

from __future__ import annotations

from collections.abc import Iterable

LARGEST = 2**31 - 1
MOST = 2**22  # ids that `parse` returns: more is a slip of the finger, and would fill the memory


def parse(text: str) -> tuple[int, ...]:
    """Return the ids in `text`, ascending; brackets round the whole are allowed, empty is no ids.

    Raises ValueError, naming the text, for anything but ascending ids without leading zeros or spaces,
    and for more than `MOST` ids.
    """
    found = ranges(text)
    count = sum(high - low + 1 for low, high in found)
    if count > MOST:
        raise ValueError(f"idset {text!r}: {count} ids are more than {MOST}")
    return tuple(id_ for low, high in found for id_ in range(low, high + 1))


def ranges(text: str) -> list[tuple[int, int]]:
    """Return the (first, last) of each range in `text`, without expanding it."""
    body = text
    if text.startswith("[") or text.endswith("]"):
        if not (text.startswith("[") and text.endswith("]")):
            raise ValueError(f"idset {text!r}: a bracket without its other half")
        body = text[1:-1]
    if not body:
        return []
    found: list[tuple[int, int]] = []
    last = -1
    for part in body.split(","):
        first, dash, end = part.partition("-")
        low = _id(first, text)
        high = _id(end, text) if dash else low
        if dash and high <= low:
            raise ValueError(f"idset {text!r}: {part!r} does not run upwards; one id is written alone")
        if low <= last:
            raise ValueError(f"idset {text!r}: ids must ascend without repetition, {part!r} does not")
        found.append((low, high))
        last = high
    return found


def encode(ids: Iterable[int]) -> str:
    """Return ids as text, with ranges: (0, 1, 2, 7) is `0-2,7`."""
    parts: list[str] = []
    start = previous = None
    for id_ in sorted(set(ids)):
        if previous is None or start is None:
            start = id_
        elif id_ != previous + 1:
            parts.append(_range(start, previous))
            start = id_
        previous = id_
    if start is not None and previous is not None:
        parts.append(_range(start, previous))
    return ",".join(parts)


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def _id(text: str, whole: str) -> int:
    if not text.isascii() or not text.isdigit() or (len(text) > 1 and text[0] == "0"):
        raise ValueError(f"idset {whole!r}: {text!r} is no id; write it like 0-3,7")
    if len(text) > len(str(LARGEST)) or int(text) > LARGEST:
        raise ValueError(f"idset {whole!r}: {text} is larger than {LARGEST}")
    return int(text)
