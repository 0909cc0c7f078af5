"""fluxpmix: PMIx for Flux, in Python.

`run` starts a parallel job on this machine. `Server`, `Client` and `Tool` are PMIx itself for a Python program, on
the libpmix that `load_library` finds. Everything is imported when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.launch import run
    from fluxpmix.pmix.client import Client
    from fluxpmix.pmix.library import Library, LibraryError
    from fluxpmix.pmix.library import load as load_library
    from fluxpmix.pmix.server import Server
    from fluxpmix.pmix.status import PmixError, Status
    from fluxpmix.pmix.tool import Tool
    from fluxpmix.pmix.types import DataType, Info, Proc, Range, Scope, Value
    from fluxpmix.pool import Launcher
    from fluxpmix.shell.local.request import LaunchError

_HOMES = {
    "run": "fluxpmix.launch",
    "Launcher": "fluxpmix.pool",
    "Client": "fluxpmix.pmix.client",
    "Library": "fluxpmix.pmix.library",
    "LibraryError": "fluxpmix.pmix.library",
    "load_library": "fluxpmix.pmix.library:load",
    "Server": "fluxpmix.pmix.server",
    "PmixError": "fluxpmix.pmix.status",
    "Status": "fluxpmix.pmix.status",
    "Tool": "fluxpmix.pmix.tool",
    "DataType": "fluxpmix.pmix.types",
    "Info": "fluxpmix.pmix.types",
    "Proc": "fluxpmix.pmix.types",
    "Range": "fluxpmix.pmix.types",
    "Scope": "fluxpmix.pmix.types",
    "Value": "fluxpmix.pmix.types",
    "LaunchError": "fluxpmix.shell.local.request",
}

__all__ = [
    "Client",
    "DataType",
    "Info",
    "LaunchError",
    "Launcher",
    "Library",
    "LibraryError",
    "PmixError",
    "Proc",
    "Range",
    "Scope",
    "Server",
    "Status",
    "Tool",
    "Value",
    "load_library",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fluxpmix' has no attribute {name!r}")
    import sys

    module, _, attribute = _HOMES[name].partition(":")
    __import__(module)
    found = globals()[name] = getattr(sys.modules[module], attribute or name)
    return found


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
