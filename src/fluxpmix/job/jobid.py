"""Job ids as Flux writes them: a 64-bit number, shown in F58 (Flux RFC 19), e.g. `f2r6s7mq`.

A job of this machine gets one too, so that `{{id}}` in an output name, PMIX_JOBID and the namespace
look alike under every carrier. The ASCII prefix `f` is used, which Flux reads as well as `ƒ`.
"""

from __future__ import annotations

_DIGITS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
LARGEST = 2**64 - 1


def encode(number: int) -> str:
    """Return a job id in F58. Raises ValueError outside 64 bits."""
    if not 0 <= number <= LARGEST:
        raise ValueError(f"job id {number}: it has 64 bits")
    digits = ""
    while number or not digits:
        number, digit = divmod(number, 58)
        digits = _DIGITS[digit] + digits
    return f"f{digits}"


def decode(text: str) -> int:
    """Return the number of an id in F58, with either prefix. Raises ValueError that names the text."""
    body = text[1:]
    if text[:1] not in ("f", "ƒ") or not body or not set(body) <= _VALUES.keys():
        raise ValueError(f"job id {text!r}: no F58, which looks like f2r6s7mq")
    number = 0
    for digit in body:
        number = number * 58 + _VALUES[digit]
    if number > LARGEST:
        raise ValueError(f"job id {text!r}: it has more than 64 bits")
    return number


def dothex(number: int) -> str:
    """Return a job id as four dotted groups of hexadecimal digits."""
    text = f"{number:016x}"
    return ".".join(text[at : at + 4] for at in range(0, 16, 4))
