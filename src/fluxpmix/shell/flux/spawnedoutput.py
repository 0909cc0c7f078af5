"""Where the tasks of spawned jobs print under Flux: to the log that `flux run` and `flux job attach` show.

`spawned.py` has one for its tasks, `joboutput.py` for those of Flux jobs of their own. flux-shell's own output plugin
takes output of the job's own tasks only, and none once they have ended, so this adds to the log itself (RFC 24, in the
job's KVS namespace), a few lines at a time, with the spawned task's name for its rank. Where the job's output goes to a
file, the lines are added to that.
"""

from __future__ import annotations

import os
from binascii import b2a_base64
from collections import deque
from collections.abc import Callable, Iterator
from time import time

from fluxpmix.host.effects import Level
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.handle import ANY_BROKER

_STREAMS = {1: "stdout", 2: "stderr"}
_APPEND = 32  # FLUX_KVS_APPEND
_PAUSE = 0.02  # seconds in which what is printed goes together
_FULL = 4 << 20  # bytes of the log's text that wait, from which on it is better to give no more


class SpawnedOutput:
    """The output of spawned tasks.

    `on_room` is called when there is room again, after `full` has been True.
    """

    def __init__(self, api: Shell, own_task: Callable[[], int | None], job: int | None = None) -> None:
        """`own_task` returns a task of the job's own that runs here: flux-shell writes what it is said to print.

        `job` is another Flux job, in whose log it is shown instead.
        """
        self._api = api
        self._own_task = own_task
        self._namespace = f"job-{job or api.info()['jobid']}"
        self.on_room: Callable[[], None] = lambda: None
        self._size = 0  # characters in `_lines`
        self._was_full = False
        self._lines: deque[str] = deque()
        self._waiting: list[Callable[[], None]] = []
        self._busy = False
        self._lost = False  # whether some is, and that has been said
        self._timer = api.timer(self._commit)
        self._files = {stream: self._file(name) if job is None else (None, False) for stream, name in _STREAMS.items()}

    @property
    def full(self) -> bool:
        """Whether so much waits that no more should come until `on_room` is called."""
        return self._size > _FULL

    def write(self, name: str, stream: int, data: bytes) -> None:
        """Show what the task called `name` has printed."""
        path, label = self._files[stream]
        if path is not None:
            self._append(path, stream, f"{name}: ".encode() if label else b"", data)
            return
        *whole, rest = data.split(b"\n")
        for line in (*(each + b"\n" for each in whole), *([rest] if rest else [])):  # each has its label then
            try:
                self._add(name, stream, {"data": line.decode()})
            except UnicodeDecodeError:
                self._add(name, stream, {"encoding": "base64", "data": b2a_base64(line, newline=False).decode()})

    def end(self, name: str, stream: int) -> None:
        """The task called `name` prints no more on a stream: say so to those who read the log."""
        self._add(name, stream, {"eof": True})

    def flush(self, done: Callable[[], None]) -> None:
        """Call `done` when all is shown that was written."""
        self._waiting.append(done)
        self._commit()

    def _add(self, name: str, stream: int, what: dict[str, object]) -> None:
        from json import dumps

        if not self._lines and not self._busy:
            self._api.set_timer(self._timer, _PAUSE)
        context = {"stream": _STREAMS[stream], "rank": name, **what}
        line = dumps({"timestamp": time(), "name": "data", "context": context}) + "\n"
        self._lines.append(line)
        self._size += len(line)
        self._was_full = self._was_full or self.full

    def _commit(self) -> None:
        """Add to the log what there is, but not more at once than is good for the key-value store."""
        if self._busy:
            return
        if not self._lines:
            waiting, self._waiting = self._waiting, []
            for done in waiting:
                done()
            return
        from json import dumps

        data = b2a_base64("".join(self._taken()).encode(), newline=False).decode()
        value = {"ver": 1, "type": "val", "data": data}
        request = {
            "namespace": self._namespace,
            "flags": 0,
            "ops": [{"key": "output", "flags": _APPEND, "dirent": value}],
        }
        self._busy = True
        self._api.call(b"kvs.commit", ANY_BROKER, dumps(request).encode() + b"\0", self._committed)
        if self._was_full and not self.full:
            self._was_full = False
            self.on_room()

    def _taken(self) -> Iterator[str]:
        """Take the next lines from those that wait."""
        taken = 0
        while self._lines and taken <= _FULL:
            line = self._lines.popleft()
            taken += len(line)
            yield line
        self._size -= taken

    def _committed(self, error: int, _answer: bytes) -> None:
        self._busy = False
        if error and not self._lost:
            self._lost = True
            self._api.log(Level.ERROR, f"output of spawned tasks is lost: {os.strerror(error)}")
        self._commit()

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
