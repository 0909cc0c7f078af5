"""The values of `flux-pmix sim`'s options: ranges, times, rates and names, and how figures are printed.

Used by `sim.py`. Converters raise ValueError("what is expected instead"), as `options.parse` wants it.
"""

from __future__ import annotations

from collections.abc import Iterable

from fluxpmix.cli.errors import UsageError, nearest

MOST_SHELLS = 1 << 20
MOST_BYTES = 1 << 40
_TIMES = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
_BINARY = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_DECIMAL = {"K": 1e3, "M": 1e6, "G": 1e9}
_RANGE = "a number, a list 64,1024 or a range 2..65536x4 is expected"


def counts(text: str) -> tuple[int, ...]:
    """Convert numbers of shells."""
    return _series(text, 2, MOST_SHELLS)


def sizes(text: str) -> tuple[int, ...]:
    """Convert numbers of bytes."""
    return _series(text, 1, MOST_BYTES)


def _series(text: str, least: int, most: int) -> tuple[int, ...]:
    """Convert a list of numbers and ranges to numbers that ascend."""
    found: set[int] = set()
    for part in text.split(","):
        low, dots, rest = part.partition("..")
        if not dots:
            found.add(_whole(part))
            continue
        high, _, factor = rest.partition("x")
        first, last, times = _whole(low), _whole(high), _whole(factor or "2") if factor or "x" not in rest else 0
        if first < 1 or last < first or times < 2:
            raise ValueError("a range goes up, by a factor of 2 or more: 2..65536x4")
        found.add(last)
        while first < last:
            found.add(first)
            first *= times
    if min(found) < least or max(found) > most:
        raise ValueError(f"{least} to {most} are possible")
    return tuple(sorted(found))


def _whole(text: str) -> int:
    """Convert a whole number, with K, M or G behind it for 1024s."""
    digits, factor = (text[:-1], _BINARY[text[-1]]) if text[-1:] in _BINARY else (text, 1)
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 15:
        raise ValueError(_RANGE)
    return int(digits) * factor


def fanout(text: str) -> int:
    """Convert a fan-out."""
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < 2:
        raise ValueError("a whole number, 2 or more, is expected")
    return int(text)


def seed(text: str) -> int:
    """Convert a seed."""
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError("a whole number, 0 or more, is expected")
    return int(text)


def probability(text: str) -> float:
    """Convert a probability of loss; with more than 0.9 nothing would ever arrive."""
    value = _number(text, "a probability, 0 to 0.9, is expected")
    if value > 0.9:
        raise ValueError("a probability, 0 to 0.9, is expected")
    return value


def seconds(text: str) -> float:
    """Convert a time with its unit, or 0."""
    for suffix, factor in _TIMES.items():
        if text.endswith(suffix) and text[: -len(suffix)][-1:].isdigit():
            return _number(text[: -len(suffix)], "a time with its unit is expected, e.g. 10us") * factor
    if text == "0":
        return 0.0
    raise ValueError("a time in ns, us, ms or s is expected, e.g. 10us")


def rate(text: str) -> float:
    """Convert bytes a second."""
    wanted = "bytes a second are expected, e.g. 12.5G"
    digits, factor = (text[:-1], _DECIMAL[text[-1]]) if text[-1:] in _DECIMAL else (text, 1.0)
    value = _number(digits, wanted) * factor
    if value < 1:
        raise ValueError(wanted)
    return value


def _number(text: str, wanted: str) -> float:
    if not text or not set(text) <= set("0123456789.e-") or not (text[0].isdigit() or text[0] == "."):
        raise ValueError(wanted)
    try:
        value = float(text)
    except ValueError:
        raise ValueError(wanted) from None
    if value > 1e18:
        raise ValueError(wanted)
    return value


def names(option: str, text: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the names in a list, each once. Raises UsageError that names one that is not known."""
    all_known = tuple(known)
    for name in text.split(","):
        if name not in all_known:
            guess = nearest(name, all_known)
            raise UsageError(f"{option} {name!r}: there are {', '.join(all_known)}{guess}")
    return tuple(dict.fromkeys(text.split(",")))


def available_memory() -> int:
    """Return how many bytes this process can still get: of the machine, its control group and its limits."""
    import resource

    found = [_field("/proc/meminfo", "MemAvailable:") * 1024 or 1 << 62]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        found.append(limit - _field("/proc/self/status", "VmSize:") * 1024)
    for most, now in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        allowed = _field(most, "")
        if allowed:
            found.append(allowed - _field(now, ""))
    return max(0, min(found))


def most_memory() -> int:
    """Return the most bytes that this process has been resident with."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _field(path: str, name: str) -> int:
    """Return a number in a file of the kernel's, on the line that starts with `name`; 0 where there is none."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(name):
                    words = line[len(name) :].split()
                    return int(words[0]) if words and words[0].isdigit() else 0
    except OSError:
        pass
    return 0


def amount(size: float) -> str:
    """Return bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 or size == int(size) else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def duration(time: float) -> str:
    """Return seconds as a person reads them."""
    if time < 0.9995e-3:
        return f"{time * 1e6:.0f} us"
    if time < 0.9995:
        return f"{time * 1e3:.2f} ms" if time < 9.995e-3 else f"{time * 1e3:.0f} ms"
    return f"{time:.2f} s" if time < 9.995 else f"{time:.0f} s"
