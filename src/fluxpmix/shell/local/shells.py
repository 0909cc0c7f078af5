"""The shells of a job as their launcher has them: their start, what goes to all of them, and how far they are.

`launcher.py` decides by it. Shells are forked from the launcher, or come from a program that keeps them (`warm.py`).
"""

from __future__ import annotations

import _socket
import os
from collections.abc import Callable, Collection, Iterable, Iterator

from fluxpmix.pmix.light import partial, signal, suppress
from fluxpmix.pmix.process import close_descriptors
from fluxpmix.shell.local import control, shell, tasks
from fluxpmix.shell.local.request import LaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.local.reactor import Reactor
    from fluxpmix.shell.local.warm import Warm

FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)


class Shell:
    """The launcher's view of one shell."""

    def __init__(self, rank: int, pid: int) -> None:
        self.rank = rank
        self.pid = pid
        self.control: control.Control
        self.started = False
        self.drained = False
        self.gone = False


class Shells:
    """All of them, by rank; those that have been started."""

    def __init__(
        self,
        reactor: Reactor,
        plan: shell.Plan,
        warm: Warm | None,
        message: Callable[..., None],
        gone: Callable[[Shell, str], None],
    ) -> None:
        """`message(shell, kind, *values)` is called for what a shell says, `gone(shell, reason)` at its end."""
        self._reactor = reactor
        self._plan = plan
        self._warm = warm
        self._message = message
        self._gone = gone
        self._shells: list[Shell] = []

    def __iter__(self) -> Iterator[Shell]:
        return iter(self._shells)

    def __len__(self) -> int:
        return len(self._shells)

    @property
    def there(self) -> list[Shell]:
        """Those that are not gone."""
        return [one for one in self._shells if not one.gone]

    @property
    def all_gone(self) -> bool:
        """Whether none is there."""
        return all(one.gone for one in self._shells)

    @property
    def all_started(self) -> bool:
        """Whether the tasks of each have been started."""
        return all(one.started for one in self._shells)

    @property
    def any_started(self) -> bool:
        """Whether there are tasks already."""
        return any(one.started for one in self._shells)

    @property
    def all_drained(self) -> bool:
        """Whether each has told of all that its tasks did."""
        return all(one.drained for one in self._shells)

    def send(self, kind: int, *values: object) -> None:
        """Say something to all that are there."""
        for one in self._shells:
            if not one.gone:
                one.control.send(kind, *values)

    def pause(self, on: bool) -> None:
        """Listen to them no longer, or again."""
        for one in self._shells:
            if not one.gone:
                one.control.stream.pause(on)

    def kill(self) -> None:
        """Kill those that are there."""
        kill(one.pid for one in self.there)

    def start(self, mask: Iterable[int]) -> None:
        """Start one for each node, with this signal mask. Raises `LaunchError`."""
        size = len(self._plan.request.job.nodes)
        listeners: list[_socket.socket | None] = [None] * size
        if size > 1:
            from fluxpmix.shell.local.links import listen

            listeners = [listen(self._plan.directory, rank) for rank in range(size)]
        try:
            for rank in range(size):
                ours, theirs = _socket.socketpair()
                if self._warm is not None:
                    pid = self._warm.start(self._plan, rank, theirs, listeners[rank])
                else:
                    pid = os.fork()
                    if pid == 0:
                        self._become_shell(rank, theirs, listeners[rank], mask)
                theirs.close()
                one = Shell(rank, pid)
                one.control = control.Control(
                    self._reactor, ours, partial(self._message, one), partial(self._gone, one)
                )
                self._shells.append(one)
        except OSError as error:
            raise LaunchError(f"cannot start {size} job shell(s): {error.strerror}; ask for fewer nodes") from None
        finally:
            for listener in listeners:
                if listener is not None:
                    listener.close()

    def _become_shell(
        self, rank: int, sock: _socket.socket, listener: _socket.socket | None, mask: Iterable[int]
    ) -> None:
        """In the child: forget what is the launcher's."""
        try:
            leave_launcher(mask, {sock.fileno(), listener.fileno() if listener else -1})
            shell.main(self._plan, rank, sock, listener)
        finally:
            os._exit(1)


def leave_launcher(mask: Iterable[int], keep: Collection[int]) -> None:
    """In a forked shell: forget what is the launcher's, but these descriptors and the standard streams."""
    os.setsid()
    for signum in (signal.SIGINT, *FORWARDED):
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    close_descriptors(keep)


def kill(pids: Iterable[int]) -> None:
    """Kill processes, those of them that there are."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_children(kept: Collection[int]) -> None:
    """Kill all children of this process but these, and what that leaves to it, and wait for their end."""
    while orphans := [pid for pid in tasks.children(os.getpid()) if pid not in kept]:
        kill(orphans)
        for pid in orphans:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
