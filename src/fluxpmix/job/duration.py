"""Flux Standard Duration (Flux RFC 23): `30s`, `1.5h`, `2d`, `100ms`, `inf`, or plain seconds."""

from __future__ import annotations

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_FORM = "write a number with ms, s, m, h or d, e.g. 90s or 1.5h"


def seconds(text: str) -> float:
    """Return the seconds of a Flux Standard Duration; `inf` and `infinity` give infinity.

    Raises ValueError that says what is expected.
    """
    if text in ("inf", "infinity"):
        return float("inf")
    number, unit = text, 1.0
    for suffix, factor in _UNITS.items():
        if text.endswith(suffix):
            number, unit = text[: -len(suffix)], factor
            break
    return _number(number, unit)


def time_limit(text: str) -> float | None:
    """Return the seconds of a time limit, None for none: a bare number means minutes, 0 no limit.

    Raises ValueError that says what is expected.
    """
    try:
        value = _number(text, 60)
    except ValueError:
        value = seconds(text)
    if value == float("inf"):
        raise ValueError("a time limit is finite; leave the option out for none")
    return value or None


def timeout(text: str) -> float | None:
    """Return the seconds of a timeout, None for `none` (or `inf`). Raises ValueError as `seconds` does."""
    value = float("inf") if text == "none" else seconds(text)
    return None if value == float("inf") else value


def operation_limit(value: object) -> float | None:
    """Return the seconds that an operation may take, None for ever: as `timeout`, and 0 means so too (PMIX_TIMEOUT).

    `value` is the option's, as JSON has it. Raises ValueError as `seconds` does.
    """
    return timeout(str(value)) or None


def alert(value: object) -> float:
    """Return how many seconds before a time limit an alert comes, 0 for never: `off`, `none` and 0.

    `value` is the option's, as JSON has it. Raises ValueError as `seconds` does.
    """
    if value is False or value in ("off", "none"):
        return 0.0
    before = seconds(str(value))
    if before == float("inf"):
        raise ValueError("an alert comes a finite time before the time limit, e.g. 30s; off is never")
    return before


def _number(text: str, unit: float) -> float:
    """Return how many seconds a number of units is."""
    # float() also takes nan, inf, 1_000 and spaces; the standard's grammar has none of them.
    if not text or not set(text) <= set("0123456789.eE+-") or not (text[0].isdigit() or text[0] == "."):
        raise ValueError(_FORM)
    try:
        value = float(text) * unit
    except ValueError:
        raise ValueError(_FORM) from None
    if value == float("inf"):
        raise ValueError("this is longer than a computer can count; " + _FORM)
    return value
