"""The trace of a Flux job (`-o pmix.trace=FILE`): loaded by `plugin.py` where one is wanted."""

from __future__ import annotations

from collections.abc import Callable

from fluxpmix.host.effects import Level
from fluxpmix.pmix.light import partial
from fluxpmix.shell import tracing
from fluxpmix.shell.flux.handle import ShellError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.base import Driver
    from fluxpmix.shell.flux.api import Shell


def check(path: str) -> None:
    """See that the trace can be written. Raises `ShellError`."""
    try:
        tracing.check_file(path)
    except OSError as error:
        raise ShellError(f"-o pmix.trace={path}: {error.strerror}; name a file that can be written") from None


def driver(since: float) -> Callable[..., Driver]:
    """Return what makes a driver that records, of a shell that started then (`monotonic`)."""
    return partial(tracing.TracedDriver, since=since)


def write(api: Shell, path: str, driver: Driver, shells: int) -> None:
    """Write all shells' parts, as the job's first shell has them."""
    facts = {"job": str(api.info()["jobid"]), "shells": str(shells)}
    try:
        tracing.write(path, driver.trace_parts(), facts)
    except OSError as error:
        api.log(Level.WARNING, f"cannot write the trace to {path}: {error.strerror}")
