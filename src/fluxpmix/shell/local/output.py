"""The launcher's output: the one writer of what tasks print, to its own stdout and stderr or to files.

Whole lines come from the job shells and are written in the order in which they come, so no line is ever
torn. Never blocks on a pipe or terminal: what does not fit waits in a queue, and the launcher stops
listening to its shells while a queue is long.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from fluxpmix.host.effects import Level
from fluxpmix.job import template
from fluxpmix.shell.local import jobdir
from fluxpmix.shell.local.reactor import WRITE, Reactor
from fluxpmix.shell.local.request import LaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.local.request import Request

HIGH_WATER = 8 << 20  # bytes that may wait before the shells are told to wait
STDOUT, STDERR = 1, 2
_SHOWN = {0: Level.WARNING, 1: Level.NOTICE, 2: Level.DEBUG}  # by how often -v was given


class Sink:
    """One file, pipe or terminal. `failed(name, error)` is called once if it can take no more."""

    def __init__(self, reactor: Reactor, fd: int, name: str, failed: Callable[[str, OSError], None]) -> None:
        self._reactor = reactor
        self._name = name
        self._failed = failed
        self._queue: deque[memoryview] = deque()
        self._watching = False
        self._broken = False
        self.queued = 0
        self.on_room: Callable[[], None] | None = None
        # A file's own descriptor is written to: it shares its position with whoever opened it. A pipe or
        # terminal is opened anew, for only so can it be made non-blocking for us and nobody else.
        self._own = fd > STDERR
        self._fd = fd
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            try:
                self._fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
                if self._own:
                    os.close(fd)
                self._own = True
            except OSError:  # a socket, or not ours to open: then writes may block
                pass

    def write(self, data: bytes) -> None:
        """Write, now or later, in order."""
        if self._broken or not data:
            return
        self._queue.append(memoryview(data))
        self.queued += len(data)
        if not self._watching:
            self._flush()

    def close(self) -> None:
        """Forget what is queued and close."""
        if self._watching:
            self._reactor.forget(self._fd)
            self._watching = False
        if self._own and self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._broken = True
        self._queue.clear()
        self.queued = 0

    def drain(self) -> None:
        """Write what is queued before returning, however long that takes."""
        if self._queue and not self._broken:
            os.set_blocking(self._fd, True)
            self._flush()

    def _flush(self) -> None:
        while self._queue:
            first = self._queue[0]
            try:
                count = os.write(self._fd, first)
            except BlockingIOError:
                self._watch(True)
                return
            except OSError as error:
                self._break(error)
                return
            self.queued -= count
            if count == len(first):
                self._queue.popleft()
            else:
                self._queue[0] = first[count:]
        self._watch(False)
        if self.on_room is not None:
            self.on_room()

    def _ready(self, _events: int) -> None:
        self._flush()
        if self.queued < HIGH_WATER // 2 and self.on_room is not None:
            self.on_room()

    def _watch(self, on: bool) -> None:
        if on != self._watching:
            self._watching = on
            if on:
                self._reactor.watch(self._fd, WRITE, self._ready)
            else:
                self._reactor.forget(self._fd)

    def _break(self, error: OSError) -> None:
        self._watch(False)
        self._broken = True
        self._queue.clear()
        self.queued = 0
        self._failed(self._name, error)
        if self.on_room is not None:
            self.on_room()


class Output:
    """Where each task's stdout and stderr go."""

    def __init__(
        self, reactor: Reactor, request: Request, directory: str, failed: Callable[[str, OSError], None]
    ) -> None:
        """Open every file. Raises `LaunchError` for one that cannot be opened."""
        self._reactor = reactor
        self._failed = failed
        self._label = request.label_io
        self._request = request
        self._directory = directory
        self._on_room: Callable[[], None] | None = None
        self._values: dict[int, Mapping[str, str]] = {}  # by node: what fills the tags of file names
        self._names: dict[int, bytes] = {}  # of spawned tasks, by number: what their lines are labelled with
        self._sinks: dict[str | int, Sink] = {}
        self._own: dict[int, Sink] = {}  # our stdout and stderr
        out = self._open_all("--output", request.output, STDOUT)
        # As with flux run, stderr goes where stdout goes unless it is given a place of its own.
        error = request.error if request.error is not None else request.output
        err = out if error == request.output and error is not None else None
        self._sinks_of = {
            STDOUT: out,
            STDERR: err or self._open_all("--error", error, STDERR),
        }
        self._names_of = {STDOUT: ("--output", request.output), STDERR: ("--error", error)}

    def write(self, rank: int, stream: int, data: bytes) -> None:
        """Write what a task printed: lines, the last perhaps without its end."""
        sink = self._sinks_of[stream].get(rank) or self._stream(stream)
        sink.write(labelled(self._names.get(rank) or b"%d: " % rank, data) if self._label else data)

    def add(self, first: int, ordinal: int, column: Sequence[int]) -> None:
        """Have the tasks of a spawned job, each on the node that `column` says, print where the job's own do.

        A file for each task is named with the spawned task's name, as in 1.0.
        """
        local: dict[int, int] = {}
        for rank, node in enumerate(column):
            number, name = first + rank, f"{ordinal}.{rank}"
            self._names[number] = name.encode() + b": "
            index = local[node] = local.get(node, -1) + 1
            values = template.task_values(rank, index) | dict.fromkeys(("taskid", "task.id", "task.rank"), name)
            for stream, (option, path) in self._names_of.items():
                self._sinks_of[stream][number] = (
                    self._stream(stream) if path is None else self._sink(option, path, node, values)
                )

    def log(self, level: int, message: str) -> None:
        """Write a line of the launcher's own, if lines of this level are wanted."""
        if level <= _SHOWN.get(self._request.verbose, Level.TRACE):
            what = {Level.ERROR: "error: ", Level.WARNING: "warning: "}.get(Level(level), "")
            self.say(what + message)

    def say(self, message: str) -> None:
        """Write a line of the launcher's own to stderr, in order with what the tasks print there."""
        line = f"flux-pmix: {' '.join(message.splitlines())}"
        self._stream(STDERR).write(line.encode(errors="replace") + b"\n")

    @property
    def queued(self) -> int:
        """The bytes that wait to be written, over all sinks."""
        return sum(sink.queued for sink in self._sinks.values())

    def on_room(self, call: Callable[[], None]) -> None:
        """Have `call` called when there is room again."""
        self._on_room = call
        for sink in self._sinks.values():
            sink.on_room = call

    def finish(self) -> None:
        """Write what is queued, waiting for it, and close."""
        for sink in self._sinks.values():
            sink.drain()
        self.discard()

    def discard(self) -> None:
        """Close, and lose what is queued."""
        for sink in self._sinks.values():
            sink.close()

    def _open_all(self, option: str, name: str | None, stream: int) -> dict[int, Sink]:
        job = self._request.job
        self._stream(STDERR)
        if name is None:
            return dict.fromkeys(range(job.size), self._stream(stream))
        return {
            rank: self._sink(option, name, node.id, template.task_values(rank, local))
            for node in job.nodes
            for local, rank in enumerate(job.ranks(node.id))
        }

    def _sink(self, option: str, name: str, node: int, values: Mapping[str, str]) -> Sink:
        """Return the file that a template names for a task on `node`, opened when it is first named."""
        form, path, job = template.parse(name), name, self._request.job
        if form.tags:
            if node not in self._values:
                self._values[node] = template.job_values(job, self._request.name) | template.node_values(
                    job, node, jobdir.of_shell(self._directory, node)
                )
            path = form.fill({**self._values[node], **values})
        return self._sinks.get(path) or self._open(option, path)

    def _open(self, option: str, path: str) -> Sink:
        append = self._request.append
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if append else os.O_TRUNC)
        try:
            fd = os.open(path, flags, 0o666)
        except OSError as error:
            raise LaunchError(
                f"{option} {path!r}: {error.strerror}; name a file in a directory that you can write"
            ) from None
        sink = self._sinks[path] = Sink(self._reactor, fd, f"{option} {path}", self._failed)
        sink.on_room = self._on_room
        return sink

    def _stream(self, stream: int) -> Sink:
        if stream not in self._sinks:
            name = "standard output" if stream == STDOUT else "standard error"
            self._sinks[stream] = Sink(self._reactor, stream, name, self._failed)
        return self._sinks[stream]


def labelled(label: bytes, data: bytes) -> bytes:
    """Put a label before each line, and an end to the last: the next label starts a line."""
    return label + data.removesuffix(b"\n").replace(b"\n", b"\n" + label) + b"\n"


def is_broken_pipe(error: OSError) -> bool:
    """Whether a reader went away, as `head` does: no failure of ours or of the job."""
    return error.errno == errno.EPIPE
