"""flux-shell's plugin API with a Python face: what `plugin.py` and its neighbours may ask of the shell.

A thin layer: no pointer of Flux leaves this module and `handle.py` but as an opaque token. Everything here belongs
to the shell's main thread. Manual pages: flux_shell_*(3).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import ESRCH

from fluxpmix.host.effects import Level
from fluxpmix.pmix.record import Record
from fluxpmix.shell.flux.handle import Handle, ShellError
from fluxpmix.shell.flux.jsontext import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ARGUMENTS_IN = 0  # FLUX_PLUGIN_ARG_IN
_WRAPPED = 1  # TASKMAP_ENCODE_WRAPPED
_LONGEST_LINE = 4000  # bytes that flux-shell passes on


class Task(Record):
    """One task of this shell. `token` is good while the topic runs that brought it."""

    rank: int
    pid: int | None
    wait_status: int | None
    token: Any


class Shell(Handle):
    """The flux-shell that this process is."""

    def __init__(self, ffi: Any, lib: Any, plugin: Any) -> None:
        self._plugin = plugin
        self._shell = lib.flux_plugin_get_shell(plugin)
        super().__init__(ffi, lib, lib.flux_shell_get_flux(self._shell))
        self._topics: dict[str, Callable[[Any], None]] = {}
        ffi.def_extern("fluxpmix_topic", error=-1)(self._topic)
        ffi.def_extern("fluxpmix_event")(self._event)

    # -- what it is ------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Return flux_shell_get_info's object: job id, rank, size, jobspec, R, options, service."""
        return self._object("flux_shell_get_info", self._shell)

    def jobspec_info(self) -> dict[str, Any]:
        """Return flux_shell_get_jobspec_info's object: the shape that was asked for."""
        return self._object("flux_shell_get_jobspec_info", self._shell)

    def task_map(self) -> Any:
        """Return the task map as RFC 34's wrapped object. Not before shell.init: it is made then."""
        text = self._owned(self.lib.taskmap_encode(self.lib.flux_shell_get_taskmap(self._shell), _WRAPPED))
        if text is None:
            raise ShellError("flux-shell has no task map")
        return loads(text)

    def topology(self) -> str:
        """Return hwloc's description of this node as XML: all of it, not only what the job has."""
        text = self.ffi.new("const char **")
        if self.lib.flux_shell_get_hwloc_xml(self._shell, text) < 0:
            raise ShellError("flux-shell has no topology")
        return self._text(text[0]) or ""

    def getenv(self, name: str) -> str | None:
        """Return a variable of the job's environment (not of this process's)."""
        return self._text(self.lib.flux_shell_getenv(self._shell, name.encode()))

    def environment(self) -> dict[str, str]:
        """Return the job's environment, as its tasks get it but for what is each task's own."""
        return {str(name): str(value) for name, value in self._object("flux_shell_get_environ", self._shell).items()}

    def option(self, name: str) -> Any:
        """Return a shell option, None where it is not given. A dotted option is found under its first part."""
        text = self.ffi.new("char **")
        found = self.lib.flux_shell_getopt(self._shell, name.encode(), text)
        value = self._owned(text[0]) if found == 1 else None
        return None if value is None else loads(value)

    # -- what it does ----------------------------------------------------------------------------

    def log(self, level: Level, message: str) -> None:
        """Write one line to the job's log."""
        self.lib.say(int(level), " ".join(message.split("\n")).encode(errors="replace")[:_LONGEST_LINE])

    def end_job(self, message: str, exit_code: int) -> None:
        """Raise a fatal job exception; where this Flux can, `exit_code` becomes the job's."""
        self.lib.end_job(exit_code, " ".join(message.split("\n")).encode(errors="replace")[:_LONGEST_LINE])

    def hold(self, name: str) -> None:
        """Keep the shell from leaving; counted by name."""
        self.lib.hold_shell(name.encode())

    def release(self, name: str) -> None:
        """Let go once."""
        self.lib.release_shell(name.encode())

    def write_output(self, rank: int, stream: str, data: bytes) -> bool:
        """Add to a local task's "stdout" or "stderr". Returns whether flux-shell takes it."""
        from json import dumps

        text = dumps({"stream": stream, "rank": str(rank), "data": data.decode("utf-8", "replace")})
        return bool(self.lib.write_output(text.encode()) == 0)

    def render(self, text: str) -> str:
        """Return a template filled in by flux-shell, as the name of an output file; unchanged where it does not."""
        return self._owned(self.lib.render(os.fsencode(text))) or text

    def on_topic(self, topic: str, call: Callable[[Any], None]) -> None:
        """Have `call(arguments)` run at a topic. An exception in it fails the topic."""
        name = topic.encode()
        # task.exec runs in the forked child, where Python must not.
        assert topic != "task.exec" and not set("*?[") & set(topic)
        if self.lib.flux_plugin_add_handler(self._plugin, name, self.lib.fluxpmix_topic, self.ffi.NULL) < 0:
            raise ShellError(f"cannot register for {topic}")
        self._topics[topic] = call

    def supervise(self, name: str, group: bool) -> bool:
        """Have `supervisor.c` stand in front of each task, and connect to the abstract socket of that name.

        `group`: tasks have process groups of their own. Returns whether flux-shell takes it.
        """
        return bool(self.lib.supervise_tasks(self._plugin, name.encode(), group) == 0)

    # -- tasks -----------------------------------------------------------------------------------

    def current_task(self) -> Task:
        """Return the task that a task topic is about."""
        return self._task(self.lib.flux_shell_current_task(self._shell))

    def set_variables(self, task: Task, variables: dict[str, str]) -> None:
        """Add to the environment of a task that is not started yet."""
        for name, value in variables.items():
            if self.lib.set_task_variable(task.token, name.encode(), os.fsencode(value)) < 0:
                raise ShellError(f"cannot set {name} for task {task.rank}")

    def signal(self, signum: int, ranks: set[int] | None) -> None:
        """Send a signal to tasks of this shell (None: to all)."""
        lib = self.lib
        if ranks is None:
            lib.flux_shell_killall(self._shell, signum)
            return
        token = lib.flux_shell_task_first(self._shell)
        while token:
            if self._task(token).rank in ranks:
                lib.kill_task(token, signum)
            token = lib.flux_shell_task_next(self._shell)

    def feed(self, rank: int, data: bytes) -> int:
        """Write to the standard input of a task of this shell, b"": close it. Returns 0 or an errno."""
        lib = self.lib
        token = lib.flux_shell_task_first(self._shell)
        while token:
            if self._task(token).rank == rank:
                return 0 if lib.feed_task(token, data, len(data)) >= 0 else int(self.ffi.errno)
            token = lib.flux_shell_task_next(self._shell)
        return ESRCH

    def on_kill(self, call: Callable[[int], None]) -> None:
        """Have `call(signal)` run when the job is to be signalled (flux job kill)."""
        if self.lib.flux_shell_add_event_handler(self._shell, b"kill", self.lib.fluxpmix_event, self._handle(call)) < 0:
            raise ShellError("cannot hear of signals to the job")

    # -- what flux-shell calls -------------------------------------------------------------------

    def _topic(self, plugin: Any, topic: Any, arguments: Any, _data: Any) -> int:
        name = self.ffi.string(topic).decode()
        try:
            self._topics[name](arguments)
        except BaseException as error:
            self.on_error(error)
            return -1
        return 0

    def _event(self, _handle: Any, _handler: Any, message: Any, data: Any) -> None:
        text = self.ffi.new("const char **")
        if self.lib.flux_msg_get_string(message, text) == 0 and text[0]:
            signum = loads(self._text(text[0]) or "{}").get("signum")
            if isinstance(signum, int):
                self._guarded(lambda: self.ffi.from_handle(data)(signum))

    def arguments(self, arguments: Any) -> dict[str, Any]:
        """Return the arguments of a topic."""
        text = self.ffi.new("char **")
        if not arguments or self.lib.flux_plugin_arg_get(arguments, _ARGUMENTS_IN, text) < 0:
            return {}
        found = loads(self._owned(text[0]) or "{}")
        return found if isinstance(found, dict) else {}

    # -- inside ----------------------------------------------------------------------------------

    def _task(self, token: Any) -> Task:
        found = self._object("flux_shell_task_get_info", token)
        return Task(int(found["rank"]), found.get("pid"), found.get("wait_status"), token)

    def _object(self, function: str, subject: Any) -> dict[str, Any]:
        text = self.ffi.new("char **")
        if not subject or getattr(self.lib, function)(subject, text) < 0:
            raise ShellError(f"{function}: {os.strerror(self.ffi.errno)}")
        found = loads(self._owned(text[0]) or "null")
        if not isinstance(found, dict):
            raise ShellError(f"{function}: no object")
        return found
