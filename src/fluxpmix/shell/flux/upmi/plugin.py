"""What a Flux broker asks when it starts: Flux's PMI client interface (upmi), answered by a PMIx client.

`upmi.c` calls `answer` for each topic after upmi.preinit, which is its own: initialize, put, get, barrier,
abort, finalize. Arguments and answers are JSON objects; an error is -1 and a text in place of errno's.
"""

from __future__ import annotations

from fluxpmix.shell.flux.jsontext import loads
from fluxpmix.shell.flux.upmi.bootstrap import Bootstrap, BootstrapError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_ARGUMENTS_IN, _ARGUMENTS_OUT = 0, 1  # FLUX_PLUGIN_ARG_*
_LONGEST = 1000  # bytes of an error
_running: list[Bootstrap] = []  # none or one: what has been initialized


def answer(ffi: Any, lib: Any, topic: str, arguments: Any) -> int:
    """Do what a topic asks, set its answer and return 0; -1 and a text where it fails."""
    try:
        call = _CALLS.get(topic)
        if call is None:
            raise BootstrapError(f"{topic} is not known")
        if topic == "upmi.initialize":
            _running[:] = [Bootstrap(ffi.string(lib.library_path()).decode("utf-8", "surrogateescape") or None)]
        if not _running:
            raise BootstrapError(f"{topic} without upmi.initialize")
        found = call(_running[0], _read(ffi, lib, arguments))
        if found:
            text = encoded(found).encode()
            if lib.flux_plugin_arg_set(arguments, _ARGUMENTS_OUT, text) < 0:
                raise BootstrapError(f"Flux does not take the answer {text[:100]!r}")
        return 0
    except Exception as error:
        named = "" if isinstance(error, BootstrapError) else f"{type(error).__name__}: "
        lib.complain(f"{named}{error}".encode(errors="replace")[:_LONGEST].decode(errors="ignore").encode())
        return -1


def encoded(values: Mapping[str, str | int]) -> str:
    """Return a flat object of texts and whole numbers as JSON, without the import of `json`."""
    try:
        from _json import encode_basestring_ascii as quoted
    except ImportError:
        from json.encoder import py_encode_basestring_ascii as quoted
    parts = (f"{quoted(key)}:{quoted(value) if isinstance(value, str) else value}" for key, value in values.items())
    return f"{{{','.join(parts)}}}"


def _read(ffi: Any, lib: Any, arguments: Any) -> dict[str, Any]:
    text = ffi.new("char **")
    if lib.flux_plugin_arg_get(arguments, _ARGUMENTS_IN, text) < 0 or not text[0]:
        return {}
    try:
        found = loads(ffi.string(text[0]).decode())
        return found if isinstance(found, dict) else {}
    finally:
        lib.free(text[0])


def _initialize(bootstrap: Bootstrap, _: Mapping[str, Any]) -> dict[str, str | int]:
    return {"rank": bootstrap.rank, "size": bootstrap.size, "name": bootstrap.name}


def _put(bootstrap: Bootstrap, asked: Mapping[str, Any]) -> None:
    bootstrap.put(asked["key"], asked["value"])


def _get(bootstrap: Bootstrap, asked: Mapping[str, Any]) -> dict[str, str | int]:
    return {"value": bootstrap.get(asked["key"], asked["rank"])}


def _barrier(bootstrap: Bootstrap, _: Mapping[str, Any]) -> None:
    bootstrap.barrier()


def _abort(bootstrap: Bootstrap, asked: Mapping[str, Any]) -> None:
    bootstrap.abort(asked.get("msg", ""))


def _finalize(bootstrap: Bootstrap, _: Mapping[str, Any]) -> None:
    _running.clear()
    bootstrap.finalize()


_CALLS: dict[str, Callable[[Bootstrap, Mapping[str, Any]], dict[str, str | int] | None]] = {
    "upmi.initialize": _initialize,
    "upmi.put": _put,
    "upmi.get": _get,
    "upmi.barrier": _barrier,
    "upmi.abort": _abort,
    "upmi.finalize": _finalize,
}
