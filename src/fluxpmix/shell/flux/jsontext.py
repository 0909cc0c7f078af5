"""JSON as flux-shell's functions give it, read without the 3 ms that importing `json` takes.

`json.loads` is this scanner in a wrapper that brings `re`; the scanner itself is compiled into Python.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Settings:
    """What the scanner asks its caller: plain JSON into plain values, NaN and the infinities too."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def loads(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError."""
    try:
        from _json import make_scanner
    except ImportError:
        import json

        return json.loads(text)
    settings: Any = _Settings()
    start = len(text) - len(text.lstrip())
    try:
        value, end = make_scanner(settings)(text, start)
    except (StopIteration, SystemError):  # the latter without `json`, whose error class it looks for
        raise ValueError(f"no JSON: {text[:60]!r}") from None
    if text[end:].strip():
        raise ValueError(f"no JSON: {text[end : end + 60]!r} is left over")
    return value
