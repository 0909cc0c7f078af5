"""The shell options that this plugin reads: `flux run -o pmix.NAME=VALUE`.

One line an option; `plugin.py` reads them at shell.init. A name or a value that makes no sense ends the job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fluxpmix.host.collective import EXCHANGES
from fluxpmix.job import idset
from fluxpmix.job.model import ProcessSet, check_set_name
from fluxpmix.pmix.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INSIDE, JOB = "inside", "job"


def _text(value: Any) -> str:
    if isinstance(value, str) and value and "\0" not in value:
        return value
    raise ValueError("text is expected")


def _fanout(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 2 <= value <= 65536:
        return value
    raise ValueError("a whole number from 2 to 65536 is expected")


def _exchange(value: Any) -> str:
    if value in EXCHANGES:
        return str(value)
    raise ValueError(f"one of {', '.join(EXCHANGES)} is expected")


def _switch(value: Any) -> bool:
    if value in (True, "on", 1):
        return True
    if value in (False, "off", 0):
        return False
    raise ValueError("on or off is expected")


def _timeout(value: Any) -> float | None:
    from fluxpmix.job.duration import operation_limit

    return operation_limit(value)


def _alert(value: Any) -> float:
    from fluxpmix.job.duration import alert

    return alert(value)


def _sets(value: Any) -> tuple[ProcessSet, ...]:
    if not isinstance(value, dict):
        raise ValueError("a name is expected: pmix.pset.NAME=RANKS")
    return tuple(_set(name, ranks) for name, ranks in _flat("", value))


def _flat(prefix: str, value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield names and values; Flux takes a name with dots apart."""
    for name, each in value.items():
        if isinstance(each, dict):
            yield from _flat(f"{prefix}{name}.", each)
        else:
            yield prefix + name, each


def _set(name: str, ranks: Any) -> ProcessSet:
    check_set_name(name)
    if isinstance(ranks, list):
        ranks = ",".join(map(str, ranks))
    return ProcessSet(name, idset.parse(str(ranks)))


def _spawn(value: Any) -> str:
    if value in (INSIDE, JOB):
        return str(value)
    raise ValueError(f"{INSIDE} or {JOB} is expected: in the job's own resources, or as a Flux job of its own")


def _parent(value: Any) -> Parent:
    try:
        return Parent(str(value["service"]), int(value["broker"]), int(value["ticket"]))
    except (TypeError, KeyError, ValueError):
        raise ValueError("it is set where a process spawns a job of its own, and by nobody else") from None


def _stop(value: Any) -> str:
    if value in ("init", "app"):
        return str(value)
    raise ValueError("init or app is expected; Flux stops tasks on exec by -o stop-tasks-in-exec")


def _job(value: Any) -> int:
    from fluxpmix.job import jobid

    text = str(value)
    try:
        return int(text) if text.isdecimal() else jobid.decode(text)
    except ValueError as error:
        raise ValueError(f"{error}; name a running job of yours, as flux jobs shows it") from None


class Parent(Record):
    """Where a spawned Flux job asks what it joins: the first shell's service, its broker, and what to ask for."""

    service: str
    broker: int
    ticket: int


class Options(Record):
    """What the user may set.

    `fanout` is the collectives' tree's (None: as wide as Flux's overlay), `exchange` how data in fences moves,
    `timeout` what an operation may take by default (seconds; None: for ever), `alert` how long before the time limit
    processes hear of it (seconds; 0: never), `model` PMIX_MODEL_LIBRARY_NAME, `pset` the process sets, `trace` the
    file that says what the job's time went into, `stop` where tasks wait for a debugger, `oversubscribe` whether
    spawned tasks may be more than the job has cores for, `restarts` whether tasks may be restarted;
    `spawn` whether spawned tasks are a Flux job of their own
    also where no resources are asked for; `parent` is set for jobs that are spawned (`jobs.py`), `join` names a
    running job whose processes this one's shall know (`joining.py`).
    """

    libpmix: str | None = None
    fanout: int | None = None
    exchange: str = "auto"
    timeout: float | None = None
    alert: float | None = None
    model: str | None = None
    stop: str | None = None
    pset: tuple[ProcessSet, ...] = ()
    trace: str | None = None
    oversubscribe: bool = False
    restarts: bool = False
    spawn: str = INSIDE
    parent: Parent | None = None
    join: int | None = None

    @staticmethod
    def read(option: Callable[[str], Any]) -> Options:
        """Return the options; `option(name)` gives a shell option's value. Raises ValueError."""
        given = option("pmix")
        if given is None:
            return Options()
        if not isinstance(given, dict):
            raise ValueError(f"-o pmix={given}: an option of it is expected, one of {', '.join(_NAMES)}")
        values = {}
        for name, value in given.items():
            check = _NAMES.get(f"pmix.{name}")
            if check is None:
                raise ValueError(f"-o pmix.{name}: there is no such option; there are {', '.join(_NAMES)}")
            try:
                values[name] = check(value)
            except ValueError as error:
                raise ValueError(f"-o pmix.{name}={value}: {error}") from None
        return Options(**values)


_NAMES: dict[str, Callable[[Any], Any]] = {
    "pmix.libpmix": _text,
    "pmix.fanout": _fanout,
    "pmix.exchange": _exchange,
    "pmix.timeout": _timeout,
    "pmix.alert": _alert,
    "pmix.model": _text,
    "pmix.stop": _stop,
    "pmix.pset": _sets,
    "pmix.trace": _text,
    "pmix.oversubscribe": _switch,
    "pmix.restarts": _switch,
    "pmix.spawn": _spawn,
    "pmix.parent": _parent,
    "pmix.join": _job,
}
