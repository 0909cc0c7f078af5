"""`flux-pmix pmi barrier | exchange | get KEY | info`: one PMIx operation from a shell, with its time, as `flux pmi`.

Run as the program of a PMIx job, under any launcher. Every rank takes part; rank 0 prints, but for `get`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from fluxpmix.cli.errors import CommandError, UsageError, nearest
from fluxpmix.cli.options import Option, count, help_page, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.client import Client


def _bytes(text: str) -> int:
    """Convert a number of bytes, with K or M for 1024 and 1024 * 1024."""
    unit = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:].upper(), 1)
    digits = text[:-1] if unit > 1 else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 10 or int(digits) * unit > 1 << 30:
        raise ValueError("a number of bytes up to 1024M is expected, e.g. 4096, 64K or 1M")
    return int(digits) * unit


OPTIONS = (
    Option(("--count",), "N", "barrier, exchange: how often (default 1)", convert=count),
    Option(("--bytes",), "N", "exchange: how much from each rank (default 64; K and M are understood)", convert=_bytes),
    Option(("--sparse",), None, "exchange: fence without data, and get from two neighbours by direct modex"),
    Option(("--rank",), "RANK", "get: whose key (default: the job's own)"),
    Option(("--timeout",), "FSD", "how long a get may take (default 10s)"),
    Option(("-h", "--help"), None, "show this page"),
)
USAGE = "flux-pmix pmi barrier | exchange | get KEY | info [OPTIONS...]"
PURPOSE = "Do one PMIx operation as the program of a PMIx job, and say how long it took."


def main(arguments: Sequence[str]) -> int:
    """Do one operation and return the exit code. Raises CommandError."""
    words, name = list(arguments), ""
    if words and not words[0].startswith("-"):
        name = words.pop(0)
    key = words.pop(0) if name == "get" and words and not words[0].startswith("-") else ""
    parsed = parse(OPTIONS, words)
    if "help" in parsed.values or not name:
        if "help" not in parsed.values:
            raise UsageError(f"an operation is missing: {USAGE}")
        print(help_page(USAGE, PURPOSE, OPTIONS))
        return 0
    operations = {"barrier": _barrier, "exchange": _exchange, "get": _get, "info": _info}
    if name not in operations:
        raise UsageError(
            f"pmi {name}: no such operation{nearest(name, operations) or '; there are barrier, exchange, get, info'}"
        )
    if parsed.rest:
        raise UsageError(f"pmi {name} takes no further argument, {parsed.rest[0]!r} was given")
    if name == "get" and not key:
        raise UsageError("pmi get needs a key: flux-pmix pmi get pmix.job.size")
    from fluxpmix.cli.check import connect
    from fluxpmix.pmix.status import PmixError

    client = connect("pmi barrier")
    try:
        operations[name](client, {**parsed.values, "key": key})
    except PmixError as error:
        raise CommandError(f"pmi {name}: {error}") from None
    finally:
        client.finalize()
    return 0


def _barrier(client: Client, options: Mapping[str, Any]) -> None:
    client.fence()
    taken = []
    for _ in range(options.get("count", 1)):
        started = time.perf_counter()
        client.fence()
        taken.append(time.perf_counter() - started)
    _say(client, f"barrier of {_size(client)} ranks: {_times(taken)}")


def _exchange(client: Client, options: Mapping[str, Any]) -> None:
    import os

    from fluxpmix.pmix.types import Proc, Scope

    size, amount = _size(client), options.get("bytes", 64)
    sparse = "sparse" in options and size > 1
    me = client.proc
    others = range(size)
    if sparse:
        others = sorted({(me.rank + 1) % size, (me.rank - 1) % size})  # type: ignore[assignment]
    reading = "direct modex" if sparse else "get"
    steps: dict[str, list[float]] = {"put": [], "commit": [], "fence": [], reading: []}
    for turn in range(options.get("count", 1)):
        blob = os.urandom(amount)
        client.fence()
        marks = [time.perf_counter()]
        client.put(Scope.GLOBAL, f"exchange.{turn}", blob)
        marks.append(time.perf_counter())
        client.commit()
        marks.append(time.perf_counter())
        client.fence(collect=not sparse)
        marks.append(time.perf_counter())
        for rank in others:
            found = client.get(f"exchange.{turn}", Proc(me.nspace, rank))
            if not isinstance(found, bytes) or len(found) != amount or (rank == me.rank and found != blob):
                raise CommandError(f"pmi exchange: rank {me.rank} got something else than rank {rank} put")
        marks.append(time.perf_counter())
        for name, start, end in zip(steps, marks, marks[1:], strict=False):
            steps[name].append(end - start)
    client.fence()  # who is done must not go while others still ask for what it put
    how = f"{len(others)} gets by direct modex" if sparse else f"{size} gets"
    _say(client, f"exchange of {amount} bytes from each of {size} ranks, {how}:")
    for name, taken in steps.items():
        _say(client, f"  {name:<12} {_times(taken)}")


def _get(client: Client, options: Mapping[str, Any]) -> None:
    from fluxpmix.job import duration
    from fluxpmix.pmix import attributes as a
    from fluxpmix.pmix.types import Proc

    who = client.job
    if "rank" in options:
        if not options["rank"].isdecimal() or len(options["rank"]) > 9:
            raise UsageError(f"--rank {options['rank']!r}: a rank is a whole number, 0 or more")
        who = Proc(client.proc.nspace, int(options["rank"]))
    try:
        seconds = max(1, round(duration.seconds(options.get("timeout", "10s"))))
    except ValueError as error:
        raise UsageError(f"--timeout {options['timeout']!r}: {error}") from None
    value = client.get(options["key"], who, {a.TIMEOUT: seconds})
    print(value.decode("utf-8", "replace") if isinstance(value, bytes) else value, flush=True)


def _info(client: Client, options: Mapping[str, Any]) -> None:
    from fluxpmix.pmix import attributes as a
    from fluxpmix.pmix.status import PmixError

    def found(key: str, who: Any) -> Any:
        try:
            return client.get(key, who, {a.OPTIONAL: True})
        except PmixError:
            return "unknown"

    version = ".".join(map(str, client.library.version))
    told = {
        "namespace": client.proc.nspace,
        "job": found(a.JOBID, client.job),
        "size": found(a.JOB_SIZE, client.job),
        "universe": found(a.UNIV_SIZE, client.job),
        "nodes": found(a.NUM_NODES, client.job),
        "libpmix": f"{version} at {client.library.path}",
    }
    for name, value in told.items():
        _say(client, f"{name:<10} {value}")


def _size(client: Client) -> int:
    from fluxpmix.pmix import attributes as a

    return int(client.get(a.JOB_SIZE, client.job))


def _say(client: Client, line: str) -> None:
    if client.proc.rank == 0:
        print(line, flush=True)


def _times(seconds: Sequence[float]) -> str:
    from statistics import median

    text = f"{median(seconds) * 1e3:.3f} ms"
    return (
        text
        if len(seconds) == 1
        else f"{text} (median of {len(seconds)}, {min(seconds) * 1e3:.3f} to {max(seconds) * 1e3:.3f})"
    )
