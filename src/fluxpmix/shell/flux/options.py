"""The shell options that this plugin reads: `flux run -o pmix.NAME=VALUE`.

One line an option; `plugin.py` reads them at shell.init. A name or a value that makes no sense ends the job.
"""

from __future__ import annotations

from collections.abc import Callable

from fluxpmix.pmix.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _text(value: Any) -> str:
    if isinstance(value, str) and value and "\0" not in value:
        return value
    raise ValueError("text is expected")


def _fanout(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError("a number of at least 1 is expected")


def _seconds(value: Any) -> float | None:
    if value == "none":
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    raise ValueError("seconds, or none, is expected")


class Options(Record):
    """What the user may set.

    `fanout` is the collectives' tree's, `timeout` what an operation may take by default (seconds; None:
    for ever), `model` PMIX_MODEL_LIBRARY_NAME.
    """

    libpmix: str | None = None
    fanout: int = 32
    timeout: float | None = None
    model: str | None = None

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
    "pmix.timeout": _seconds,
    "pmix.model": _text,
}
