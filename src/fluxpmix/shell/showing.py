"""How a spawned task's output is shown, where its PMIx_Spawn says so: tags, times, streams made one, files.

There is one `Showing` for each task whose `Command.shown` is not empty, and what it returns is shown in place of what
the task printed; what goes to files is written there (`files.py`). Who pulls output gets it as it was printed, under
Flux as it is shown. Standard 4.2, section 11.2.4.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import strftime

from fluxpmix.host.spawnrequest import Shown
from fluxpmix.pmix.types import Proc
from fluxpmix.shell.files import OutputFiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAMES = {1: "stdout", 2: "stderr"}


class Showing:
    """One task's output. `wdir` is where the names of files start that are not absolute."""

    def __init__(self, shown: Sequence[Any], proc: Proc, host: str, wdir: str, files: OutputFiles) -> None:
        self._shown = Shown(*shown)
        self._proc = proc
        self._host = host
        self._wdir = wdir
        self._files = files

    def show(self, stream: int, data: bytes) -> list[tuple[int, bytes]]:
        """Return what is to be shown, and on which stream; write what is for a file."""
        label = self._label(stream)
        if label:
            *whole, rest = data.split(b"\n")
            data = b"".join(label + line + b"\n" for line in (*whole, *([rest] if rest else [])))
        path = self._path(stream)
        if path is not None:
            self._files.append(path, data)
            if self._shown.only:
                return []
        return [(1 if self._shown.merge else stream, data)]

    def _label(self, stream: int) -> bytes:
        """Return what stands before each line, as OpenPMIx writes it."""
        what, proc = self._shown, self._proc
        parts = [strftime("[%c]")] if what.timestamp else []
        if what.tag == "rank":
            parts.append(f"[{proc.rank}]")
        elif what.tag:
            parts.append(f"[{proc.nspace},{proc.rank}]")
        if what.tag == "detailed":
            parts.append(f"[{self._host}]")
        return f"{''.join(parts)}<{_NAMES[stream]}>: ".encode() if parts else b""

    def _path(self, stream: int) -> str | None:
        what, proc = self._shown, self._proc
        if what.directory:
            name = _NAMES[1 if what.merge else stream]
            path = os.path.join(what.directory, proc.nspace, f"rank.{proc.rank}", name)
        elif what.file:
            path = what.file if what.pattern else f"{what.file}.{proc.rank}"
        else:
            return None
        return os.path.join(self._wdir, path)
