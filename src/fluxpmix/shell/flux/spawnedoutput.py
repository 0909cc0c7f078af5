"""Where the tasks of spawned jobs print under Flux: to the log that `flux run` and `flux job attach` show.

`spawned.py` has one for its tasks. flux-shell's own output plugin takes output of the job's own tasks only, and none
once they have ended, so this adds to the log itself (RFC 24, in the job's KVS namespace), a few lines at a time, with
the spawned task's name for its rank. Where the job's output goes to a file, the lines are added to that.
"""

from __future__ import annotations

import os
from binascii import b2a_base64
from collections.abc import Callable
from time import time

from fluxpmix.host.effects import Level
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.handle import ANY_BROKER

_STREAMS = {1: "stdout", 2: "stderr"}
_APPEND = 32  # FLUX_KVS_APPEND
_PAUSE = 0.02  # seconds in which what is printed goes together


class SpawnedOutput:
    """The output of one shell's spawned tasks."""

    def __init__(self, api: Shell, own_task: Callable[[], int | None]) -> None:
        """`own_task` returns a task of the job's own that runs here: flux-shell writes what it is said to print."""
        self._api = api
        self._own_task = own_task
        self._namespace = f"job-{api.info()['jobid']}"
        self._lines: list[str] = []
        self._waiting: list[Callable[[], None]] = []
        self._busy = False
        self._timer = api.timer(self._commit)
        self._files = {stream: self._file(name) for stream, name in _STREAMS.items()}

    def write(self, name: str, stream: int, data: bytes) -> None:
        """Show what the task called `name` has printed."""
        path, label = self._files[stream]
        if path is not None:
            self._append(path, stream, f"{name}: ".encode() if label else b"", data)
            return
        from json import dumps

        idle = not self._lines and not self._busy
        *whole, rest = data.split(b"\n")
        for line in (*(each + b"\n" for each in whole), *([rest] if rest else [])):  # each has its label then
            context: dict[str, str] = {"stream": _STREAMS[stream], "rank": name}
            try:
                context["data"] = line.decode()
            except UnicodeDecodeError:
                context |= {"encoding": "base64", "data": b2a_base64(line, newline=False).decode()}
            self._lines.append(dumps({"timestamp": time(), "name": "data", "context": context}) + "\n")
        if idle and self._lines:
            self._api.set_timer(self._timer, _PAUSE)

    def flush(self, done: Callable[[], None]) -> None:
        """Call `done` when all is shown that was written."""
        if not self._lines and not self._busy:
            done()
            return
        self._waiting.append(done)
        if not self._busy:
            self._commit()

    def _commit(self) -> None:
        if self._busy:
            return
        waiting, self._waiting = self._waiting, []
        if not self._lines:
            for done in waiting:
                done()
            return
        from json import dumps

        lines, self._lines = self._lines, []
        data = b2a_base64("".join(lines).encode(), newline=False).decode()
        value = {"ver": 1, "type": "val", "data": data}
        request = {
            "namespace": self._namespace,
            "flags": 0,
            "ops": [{"key": "output", "flags": _APPEND, "dirent": value}],
        }
        self._busy = True

        def over(error: int, _answer: bytes) -> None:
            self._busy = False
            if error:
                self._api.log(Level.ERROR, f"output of spawned tasks is lost: {os.strerror(error)}")
            for done in waiting:
                done()
            self._commit()

        self._api.call(b"kvs.commit", ANY_BROKER, dumps(request).encode() + b"\0", over)

    def _file(self, stream: str) -> tuple[str | None, bool]:
        """Return the file that a stream of the job goes to, None for the log, and whether lines are labelled."""
        given = self._api.option("output")
        settings = given if isinstance(given, dict) else {}
        own = settings.get(stream)
        if not isinstance(own, dict) or "path" not in own:
            own = settings.get("stdout") if stream == "stderr" else {}
        own = own if isinstance(own, dict) else {}
        path = own.get("path")
        if own.get("type", "file") != "file" or not isinstance(path, str):
            return None, False
        return self._api.render(path), bool(own.get("label"))

    def _append(self, path: str, stream: int, label: bytes, data: bytes) -> None:
        """Add to a file: through flux-shell while it writes there, which it does at a place of its own."""
        lines = data.splitlines(keepends=True)
        task = self._own_task()
        if task is not None and self._api.write_output(task, _STREAMS[stream], data):
            return
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                os.write(fd, b"".join(label + line for line in lines))
            finally:
                os.close(fd)
        except OSError as error:
            self._api.log(Level.ERROR, f"{path}: {error.strerror}; output of a spawned task is lost")
