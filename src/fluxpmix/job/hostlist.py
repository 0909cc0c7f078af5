"""Lists of hosts as text, `node[001-003],login`: Flux RFC 29.

Order and repetition are kept, and so is zero padding. Of each word the first bracket is expanded.
"""

from __future__ import annotations

from collections.abc import Iterable

LARGEST = 1_000_000  # hosts in one range: more is a slip of the finger
_DIGITS = 18  # of one number


def expand(text: str) -> tuple[str, ...]:
    """Return the host names in `text`, in order. Raises ValueError, naming the part that is wrong."""
    return tuple(host for word in _words(text) for host in _expand(word, text))


def compress(hosts: Iterable[str]) -> str:
    """Return host names as text; neighbours that count upwards become one bracket."""
    parts: list[str] = []
    group: list[str] = []  # numbers, as written, of hosts with one prefix and suffix
    where = ("", "")
    for host in hosts:
        prefix, digits, suffix = _split(host)
        if digits and group and (prefix, suffix) == where and _alike(group[-1], digits):
            group.append(digits)
            continue
        _flush(parts, where, group)
        if digits:
            where, group = (prefix, suffix), [digits]
        else:
            parts.append(host)
            group = []
    _flush(parts, where, group)
    return ",".join(parts)


def unique(hosts: Iterable[str]) -> tuple[str, ...]:
    """Return host names made unique, as a node map needs them: (vm, vm, a) becomes (vm0, vm1, a)."""
    names = tuple(hosts)
    taken: set[str] = set()
    repeated: set[str] = set()
    for name in names:
        (repeated if name in taken else taken).add(name)
    counts: dict[str, int] = {}
    made: list[str] = []
    for name in names:
        if name not in repeated:
            made.append(name)
            continue
        number = counts.get(name, 0)
        while f"{name}{number}" in taken:
            number += 1
        counts[name] = number + 1
        taken.add(f"{name}{number}")
        made.append(f"{name}{number}")
    return tuple(made)


def _words(text: str) -> list[str]:
    """Split at the commas outside brackets."""
    if not text:
        return []
    words: list[str] = []
    depth, start = 0, 0
    for at, char in enumerate(text):
        if char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
        if depth not in (0, 1):
            raise ValueError(f"host list {text!r}: brackets at position {at} do not match")
        if char == "," and not depth:
            words.append(text[start:at])
            start = at + 1
    if depth:
        raise ValueError(f"host list {text!r}: a bracket is not closed")
    words.append(text[start:])
    if not all(words) or any(char.isspace() for char in text):
        raise ValueError(f"host list {text!r}: an empty name or a space; write it like node[0-3],login")
    return words


def _expand(word: str, text: str) -> Iterable[str]:
    prefix, bracket, rest = word.partition("[")
    if not bracket:
        return (word,)
    numbers, _, suffix = rest.partition("]")
    hosts: list[str] = []
    for part in numbers.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (_number(first) and _number(last)):
            raise ValueError(f"host list {text!r}: {part!r} is no range of numbers")
        low, high, width = int(first), int(last), len(first)
        if high < low:
            raise ValueError(f"host list {text!r}: {part!r} runs backwards")
        if high - low >= LARGEST:
            raise ValueError(f"host list {text!r}: {part!r} is more than {LARGEST} hosts")
        hosts += [f"{prefix}{number:0{width}d}{suffix}" for number in range(low, high + 1)]
    return hosts


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS


def _split(host: str) -> tuple[str, str, str]:
    """Return prefix, last run of digits and suffix of a host name."""
    end = len(host)
    while end and not (host[end - 1].isascii() and host[end - 1].isdigit()):
        end -= 1
    start = end
    while start and host[start - 1].isascii() and host[start - 1].isdigit():
        start -= 1
    return host[:start], host[start:end], host[end:]


def _alike(previous: str, digits: str) -> bool:
    """Whether two numbers may stand in one bracket: the same padding, counting on."""
    padded = len(previous) == len(digits) or not (previous.startswith("0") or digits.startswith("0"))
    return padded and (len(previous) <= len(digits))


def _flush(parts: list[str], where: tuple[str, str], group: list[str]) -> None:
    if not group:
        return
    prefix, suffix = where
    if len(group) == 1:
        parts.append(f"{prefix}{group[0]}{suffix}")
        return
    spans: list[list[str]] = []
    for digits in group:
        if spans and int(digits) == int(spans[-1][1]) + 1:
            spans[-1][1] = digits
        else:
            spans.append([digits, digits])
    inside = ",".join(low if low == high else f"{low}-{high}" for low, high in spans)
    parts.append(f"{prefix}[{inside}]{suffix}")
