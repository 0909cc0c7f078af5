"""Spawned jobs with resources of their own: Flux jobs that join the shells that are there. Standard 4.2, 11.2 and 12.1.

Where a PMIx_Spawn names resources (PMIX_ALLOC_NUM_NODES and its kin, `wantedresources.py`), `spawn.py` of the first
shell has this ask for a job: the carrier submits it (`Submit`) and says what becomes of it. When its shells are up they
ask to join, with the nodes that they have; it then is a job like any other that is spawned, but that Flux starts its
tasks. A request that ends before (its time is up, Flux refuses) takes the job with it.
"""

from __future__ import annotations

from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Effect, Place, Submit
from fluxpmix.host.publication import Refused
from fluxpmix.host.wantedresources import Resources
from fluxpmix.job import hostlist
from fluxpmix.job.model import Job, Node
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix.record import Record, replace
from fluxpmix.pmix.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.host.spawnrequest import Wanted
    from fluxpmix.pmix.types import Proc


class Arrival(Record):
    """A Flux job whose shells have come up: its name, where they are, its nodes and its tasks on them from 0 on."""

    nspace: str
    place: Place
    nodes: tuple[Node, ...]
    taskmap: TaskMap


class Submitted(Record):
    """A request that waits for its job: by which process of which shell, under which token there, and until when."""

    wanted: Wanted
    asker: Proc
    shell: int
    token: int
    deadline: float | None
    holds: bool = False  # for an allocation


def by_itself(apps: tuple[tuple[Any, ...], ...]) -> Wanted:
    """Return the request that nobody has made for a job that joins of its own: its `apps` are argv, wdir and size."""
    from fluxpmix.host.spawnrequest import Command, Wanted

    commands = tuple(Command(argv[0], tuple(argv), (), (), wdir, size) for argv, wdir, size in apps)
    return Wanted(None, commands, (), None, False, True, None, None, False, None, None)


class Submissions:
    """The requests of all shells, at the first, for jobs that have not joined yet."""

    def __init__(self, directory: Directory, job: Job, place: Place | None) -> None:
        """`place` is where the first job is reached, None where there is nobody to submit a job to."""
        self._directory = directory
        self._job = job
        self._place = place
        self._tickets = 0
        self.waiting: dict[int, Submitted] = {}  # by ticket

    @property
    def deadline(self) -> float | None:
        return min((one.deadline for one in self.waiting.values() if one.deadline is not None), default=None)

    def begin(
        self,
        wanted: Wanted,
        asker: Proc,
        shell: int,
        token: int,
        deadline: float | None,
        holds: bool,
        out: list[Effect],
    ) -> None:
        """Have a job submitted. Raises `Refused`."""
        if self._place is None:
            raise Refused(
                Status.ERR_NOT_SUPPORTED, "resources of its own are Flux's to give; run the job under Flux (flux run)"
            )
        if len(set(wanted.policies)) > 1:
            raise Refused(
                Status.ERR_NOT_SUPPORTED, "the applications of a job of its own are all mapped in the same way"
            )
        resources = wanted.resources or Resources()
        if resources.seconds is None:
            resources = replace(resources, seconds=wanted.job_timeout)
        self._tickets += 1
        self.waiting[self._tickets] = Submitted(wanted, asker, shell, token, deadline, holds)
        wdir, policy = self._job.apps[0].wdir, wanted.policies[0]
        out.append(Submit(self._tickets, wanted.commands, policy, resources, wdir, holds, wanted.streams))

    def nodes(self, arrival: Arrival, holds: bool) -> tuple[Node, ...]:
        """Return its nodes as all shells shall know them: numbered on, with names that no other node has."""
        taken = {node.hostname for node in self._directory.nodes}
        found: list[Node] = []
        names = hostlist.unique(node.hostname for node in arrival.nodes)
        for number, (name, node) in enumerate(zip(names, arrival.nodes, strict=True), self._directory.shell_count):
            unique = name
            while unique in taken:  # another Flux job's share of the same machine
                unique = f"{name}-{number}"  # no dot: Open MPI cuts names off there
                number += 1
            taken.add(unique)
            aliases = node.aliases if unique == node.hostname else (unique, *(node.aliases or (node.hostname,)))
            slots = node.cores + 1 if holds else node.slots  # the process that holds a node takes none of its cores
            found.append(
                replace(
                    node, slots=slots, id=self._directory.shell_count + len(found), hostname=unique, aliases=aliases
                )
            )
        return tuple(found)

    def taskmap(self, arrival: Arrival) -> TaskMap:
        """Return where its tasks are among all nodes."""
        base = self._directory.shell_count
        return TaskMap([(node + base, *rest) for node, *rest in arrival.taskmap.blocks])
