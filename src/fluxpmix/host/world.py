"""Jobs as they travel between hosts: one that is spawned, and all that a shell must know that joins the others.

`spawn.py` sends launches to the shells that are there. A job that is a Flux job of its own (`submission.py`) brings
shells of its own: each gets a `World`, and is from then on a shell among the others, with the next free rank. The
nodes of such a job are those of all before it and then its own, so that a node's number is its shell's rank everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from fluxpmix.host import wire
from fluxpmix.host.effects import Launch, Place
from fluxpmix.job import idset
from fluxpmix.job.model import App, Job, Node, ProcessSet, Session, spawned
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class World(Record):
    """What the shells of a Flux job join: the first job, those that came since, and last the launch of their own.

    `packed` is what libpmix wants them to be told of that, `lost` are shells and `ended` processes that are gone,
    `moves` the fan-out and the exchange of all collectives.
    """

    root: Job
    place: Place
    launches: tuple[Launch, ...]
    packed: bytes
    lost: tuple[int, ...] = ()
    ended: tuple[int, ...] = ()
    moves: tuple[int, str] = (16, "tree")

    @property
    def own(self) -> Launch:
        """The job that joins."""
        return self.launches[-1]

    def encode(self) -> bytes:
        """Return it as bytes."""
        launches = tuple((launch.first, pack_launch(self.root, launch)) for launch in self.launches)
        gone = idset.encode(self.lost), idset.encode(self.ended)
        return wire.encode((_pack_job(self.root), _pack_place(self.place), launches, self.packed, gone, self.moves))

    @classmethod
    def decode(cls, data: bytes) -> World:
        """Undo `encode`. Raises ValueError."""
        try:
            root, place, launches, packed, (lost, ended), (fanout, exchange) = wire.decode(data)
            job = _unpack_job(root)
            return cls(
                job,
                Place(*place),
                tuple(unpack_launch(job, first, body) for first, body in launches),
                packed,
                tuple(idset.parse(lost)),
                tuple(idset.parse(ended)),
                (int(fanout), str(exchange)),
            )
        except (TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"what a job is to join cannot be read: {error}") from None


def pack_launch(root: Job, launch: Launch) -> tuple[Any, ...]:
    """Return a launch as values for `wire`; `root` is the first job, which all have."""
    job = launch.job
    return (
        (
            launch.ordinal,
            launch.asker,
            launch.parent_first,
            launch.notify,
            launch.separate,
            launch.job_events,
            launch.holds,
        ),
        (job.parent, job.credential, job.taskmap.encode("wrapped"), job.session.node_procs, job.session.node_busy),
        pack_apps(job.apps),
        # Its own shells have the commands from Flux.
        () if launch.place is not None else tuple(command._values() for command in launch.commands),
        (job.nspace, pack_nodes(job.nodes[len(root.nodes) :]), _pack_place(launch.place)),
    )


def unpack_launch(root: Job, first: int, body: Any) -> Launch:
    """Undo `pack_launch`. Raises TypeError or ValueError."""
    from fluxpmix.host.spawnrequest import Command

    (
        (ordinal, asker, parent_first, notify, separate, job_events, holds),
        facts,
        apps,
        commands,
        (nspace, nodes, place),
    ) = body
    who, credential, text, before, busy = facts
    job = spawned(
        root,
        ordinal,
        who,
        tuple(App(index, *app) for index, app in enumerate(apps)),
        TaskMap.parse(text),
        first,
        before,
        busy,
        credential,
        nspace,
        unpack_nodes(nodes, len(root.nodes)),
    )
    made = tuple(Command(*command) for command in commands)
    there = None if place is None else Place(*place)
    return Launch(first, ordinal, job, made, asker, parent_first, notify, separate, job_events, holds, there)


def _pack_job(job: Job) -> tuple[Any, ...]:
    session = job.session
    return (
        (job.nspace, job.jobid, job.credential, job.cores_per_task, job.model, job.taskmap.encode("wrapped")),
        (session.id, session.universe_size, session.rank_offset, session.node_procs, session.node_busy),
        pack_nodes(job.nodes),
        pack_apps(job.apps),
        tuple((pset.name, pset.ranks) for pset in job.psets),
    )


def _unpack_job(body: Any) -> Job:
    (nspace, jobid, credential, cores_per_task, model, text), session, nodes, apps, psets = body
    return Job(
        nspace,
        jobid,
        Session(*session),
        unpack_nodes(nodes, 0),
        tuple(App(index, *app) for index, app in enumerate(apps)),
        TaskMap.parse(text),
        credential,
        cores_per_task,
        model=model,
        psets=tuple(ProcessSet(*pset) for pset in psets),
    )


def pack_apps(apps: Iterable[App]) -> tuple[tuple[Any, ...], ...]:
    """Return applications as values for `wire`: argv, directory and size of each."""
    return tuple((app.argv, app.wdir, app.size) for app in apps)


def pack_nodes(nodes: Iterable[Node]) -> tuple[tuple[Any, ...], ...]:
    """Return nodes as values for `wire`, without their numbers."""
    return tuple((node.hostname, node.aliases, node.slots, node.cores) for node in nodes)


def unpack_nodes(nodes: Any, start: int) -> tuple[Node, ...]:
    """Undo `pack_nodes`; they are numbered from `start` on. Raises TypeError."""
    return tuple(Node(number, *node) for number, node in enumerate(nodes, start))


def _pack_place(place: Place | None) -> tuple[Any, ...] | None:
    return None if place is None else (place.job, place.service, place.brokers)
