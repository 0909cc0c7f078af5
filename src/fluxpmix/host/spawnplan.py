"""Where a spawned job goes, and what it is called: its nodes, its namespace and the numbers of its processes.

`spawn.py` has one `Planner` at the first shell. A job goes where its asker runs, or into an allocation that it names:
the nodes of one Flux job, either way.
"""

from __future__ import annotations

from collections.abc import Callable

from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Launch
from fluxpmix.host.publication import Refused
from fluxpmix.job.model import App, Job, spawned
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.host.spawnrequest import Wanted
    from fluxpmix.host.submission import Arrival
    from fluxpmix.job.model import Node
    from fluxpmix.job.taskmap import TaskMap

# Left out, jobs and processes, where one shell decides after another: who was before may have told others of some, and
# not this shell.
_ORDINALS, _NUMBERS = 8, 1024


class Planner:
    """Makes launches, each with numbers that no other has."""

    def __init__(
        self,
        directory: Directory,
        job: Job,
        oversubscribe: bool,
        running: Callable[[int], int],
        lost: set[int],
        follows: bool,
    ) -> None:
        """`running(shell)` counts what runs on a shell; `lost` are the shells that are gone, as time goes by.

        `follows`: where this shell is to decide, another has before.
        """
        self._directory = directory
        self._job = job
        self._oversubscribe = oversubscribe
        self._running = running
        self.lost = lost
        self.told: list[Launch] = []  # that all shells have been told of
        self.tickets: dict[str, int] = {}  # by namespace, of Flux jobs that were submitted from here
        self._released: set[str] = set()  # allocations that were given back
        self._follows = follows
        self._made = 0
        self._next = job.size  # the first number that is free

    def know(self, launch: Launch) -> None:
        """All shells have been told of a job, by this one or by another that decided before."""
        self.told.append(launch)
        self._made = max(self._made, launch.ordinal)
        self._next = max(self._next, launch.first + launch.job.size)

    def forget(self, launch: Launch) -> None:
        """It came to nothing."""
        self.told = [each for each in self.told if each is not launch]

    def plan(self, wanted: Wanted, asker: Proc) -> Launch:
        """Return the job, its places and its numbers."""
        from fluxpmix.host.placement import place

        allowed = self._oversubscribe if wanted.oversubscribe is None else wanted.oversubscribe
        nodes = self._directory.nodes
        busy = tuple(self._running(node.id) for node in nodes)
        sizes = tuple(command.size for command in wanted.commands)
        taskmap = place(
            sizes, wanted.policies, nodes, busy, allowed and self._oversubscribe, self._where(wanted, asker)
        )
        return self.launch(wanted, asker, taskmap, nodes[len(self._job.nodes) :])

    def release(self, name: Any) -> tuple[int, int]:
        """Give an allocation back: return the ticket of the Flux job that holds it, 0 if another had it, and its id."""
        for launch in self.told:
            if launch.holds and launch.job.nspace == name and launch.place and name not in self._released:
                self._released.add(launch.job.nspace)
                return self.tickets.pop(launch.job.nspace, 0), launch.place.job
        raise Refused(Status.ERR_NOT_FOUND, f"{name!r} is no allocation that a process of this job was given")

    def _where(self, wanted: Wanted, asker: Proc) -> range:
        """Return the shells among which a job goes: those of an allocation that it names, or its asker's."""
        name = wanted.allocation
        if name is None:
            return self._home(asker)
        if name == self._job.nspace:
            return range(len(self._job.nodes))
        for launch in self.told:
            given_back = launch.holds and name in self._released
            if launch.place and launch.job.nspace == name and launch.base not in self.lost and not given_back:
                return range(launch.base, len(launch.job.nodes))
        raise Refused(Status.ERR_NOT_FOUND, f"{name!r} is no allocation of this job's")

    def _home(self, asker: Proc) -> range:
        """Return the shells of the Flux job that a process runs in."""
        member = self._directory.get(asker.nspace)
        shell = 0 if member is None else self._directory.shell_of(self._directory.number(asker))
        for launch in self.told:
            if launch.place is not None and launch.base <= shell < len(launch.job.nodes):
                return range(launch.base, len(launch.job.nodes))
        return range(len(self._job.nodes))

    def launch(
        self,
        wanted: Wanted,
        asker: Proc,
        taskmap: TaskMap,
        nodes: tuple[Node, ...],
        own: Arrival | None = None,
        holds: bool = False,
    ) -> Launch:
        """Return a launch on the nodes of the first job and `nodes` after them; `own` is a Flux job of its own."""
        job = self._job
        apps = tuple(
            App(index, (command.command, *command.argv[1:]), command.wdir or job.apps[0].wdir, command.size)
            for index, command in enumerate(wanted.commands)
        )
        there = (*job.nodes, *nodes)
        if self._follows:
            self._follows = False
            self._made += _ORDINALS
            self._next += _NUMBERS
        ordinal, first = self._made + 1, self._next
        before = tuple(len(self._directory.numbers_on(node.id)) for node in there)
        busy = tuple(self._running(node.id) for node in there)
        nspace = None if own is None else own.nspace
        child = spawned(job, ordinal, wanted.parent, apps, taskmap, first, before, busy, None, nspace, nodes)
        self._made, self._next = ordinal, first + child.size
        parent = None if wanted.parent is None else self._directory.get(wanted.parent.nspace)
        return Launch(
            first,
            ordinal,
            child,
            wanted.commands if own is None else (),
            asker,
            None if parent is None else parent.first,
            wanted.notify or wanted.job_events,
            wanted.separate,
            wanted.job_events,
            holds,
            None if own is None else own.place,
        )
