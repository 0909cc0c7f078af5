"""What a host can do: one line a capability says what it answers, and one function makes it.

`host.py` makes a capability when something comes up that is its own: an upcall that it `serves`, a frame that it
`takes`, an event that it `hears`. To load them all takes longer than to start a PMIx server, and most jobs need but the
three that are imported here. One that comes after the job's tasks is told then what has become of them (`life.py`).

Their order is that in which they are told what happens.
"""

from __future__ import annotations

from fluxpmix.host.event import Events
from fluxpmix.host.failure import Failures
from fluxpmix.host.fence import Fences
from fluxpmix.host.frames import Tag
from fluxpmix.pmix import upcalls
from fluxpmix.pmix.record import Record
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fluxpmix.host.abort import Aborts
    from fluxpmix.host.allocation import Allocations
    from fluxpmix.host.checkpoint import Checkpoints
    from fluxpmix.host.connect import Connections
    from fluxpmix.host.control import JobControls
    from fluxpmix.host.credential import Credentials
    from fluxpmix.host.datastore import Datastore
    from fluxpmix.host.debug import Debugging
    from fluxpmix.host.dmodex import DirectModexes
    from fluxpmix.host.group import Groups
    from fluxpmix.host.host import Host
    from fluxpmix.host.iof import Forwarding
    from fluxpmix.host.log import Logs
    from fluxpmix.host.monitor import Monitors
    from fluxpmix.host.pset import ProcessSets
    from fluxpmix.host.query import Queries
    from fluxpmix.host.restart import Restarts
    from fluxpmix.host.spawn import Spawns
    from fluxpmix.host.succession import Succession
    from fluxpmix.host.timealert import TimeAlerts
    from fluxpmix.host.tool import Tools


# -- how each is made ------------------------------------------------------------------------------


def fences(host: Host) -> Fences:
    return Fences(host.collectives, host.default_timeout)


def aborts(host: Host) -> Aborts:
    from fluxpmix.host.abort import Aborts

    return Aborts(host.directory)


def logs(host: Host) -> Logs:
    from fluxpmix.host.log import Logs

    return Logs(host.directory)


def direct_modexes(host: Host) -> DirectModexes:
    from fluxpmix.host.dmodex import DirectModexes

    return DirectModexes(host.directory, host.rank, host.default_timeout)


def datastore(host: Host) -> Datastore:
    from fluxpmix.host.datastore import Datastore

    return Datastore(host.directory, host.job, host.rank, host.default_timeout, host.get(succession))


def queries(host: Host) -> Queries:
    from fluxpmix.host.query import Queries

    return Queries(host.directory, host.rank, host.ends_at, host.get(process_sets), host.get(groups), host.scheduler)


def events(host: Host) -> Events:
    return Events(host.directory, host.rank, host.fanout, host.on_event)


def failures(host: Host) -> Failures:
    return Failures(host.get(events), host.directory, host.job, host.rank, host.fanout, host.partners, host.holds)


def job_controls(host: Host) -> JobControls:
    from fluxpmix.host.control import JobControls

    return JobControls(
        host.directory,
        host.rank,
        host.get(process_sets),
        host.get(failures).killing,
        checkpoints=lambda: host.get(checkpoints),
        restarts=lambda: host.get(restarts),
    )


def checkpoints(host: Host) -> Checkpoints:
    from fluxpmix.host.checkpoint import Checkpoints

    return Checkpoints(host.directory, host.rank)


def restarts(host: Host) -> Restarts:
    from fluxpmix.host.restart import Restarts

    return Restarts(
        host.directory,
        host.rank,
        host.get(failures),
        lambda name, number: host.get(checkpoints).has(name, number),
        revive=host.revive,
        never_started=host.ended,
        home=host.home.nspace,
        obstacle=host.no_restarts,
    )


def process_sets(host: Host) -> ProcessSets:
    from fluxpmix.host.pset import ProcessSets

    return ProcessSets(host.directory, host.job, host.rank, host.get(succession))


def connections(host: Host) -> Connections:
    from fluxpmix.host.connect import Connections

    return Connections(host.collectives, host.directory, host.job, host.rank, host.default_timeout)


def groups(host: Host) -> Groups:
    from fluxpmix.host.group import Groups

    return Groups(
        host.collectives,
        host.directory,
        host.home,
        host.rank,
        host.default_timeout,
        host.get(events),
        ended=lambda: host.get(failures).ended,
    )


def spawns(host: Host) -> Spawns:
    from fluxpmix.host.spawn import Spawns

    return Spawns(
        host.directory,
        host.job,
        host.rank,
        host.fanout,
        oversubscribe=host.oversubscribe,
        running=host.get(failures).running,
        add=host.add_job,
        remove=host.remove_job,
        succession=host.get(succession),
        ended=lambda: host.get(failures).ended,
        timed_out=host.get(failures).timed_out,
        place=host.place,
        moves=(host.fanout, host.exchange),
        as_jobs=host.spawn_jobs,
        alert=host.alert,
    )


def succession(host: Host) -> Succession:
    from fluxpmix.host.succession import Succession

    return Succession(host.directory, host.get(failures).running)


def tools(host: Host) -> Tools:
    from fluxpmix.host.tool import Tools

    return Tools(host.job, host.rank)


def forwarding(host: Host) -> Forwarding:
    from fluxpmix.host.iof import Forwarding

    return Forwarding(host.directory, host.job, host.rank, sees_all=host.sees_all_output, tools=lambda: host.tools)


def debugging(host: Host) -> Debugging:
    from fluxpmix.host.debug import Debugging

    return Debugging(host.get(events), host.directory, host.job, host.rank, host.stop)


def credentials(host: Host) -> Credentials:
    from fluxpmix.host.credential import Credentials

    return Credentials(host.directory, host.rank, host.owner, host.key)


def allocations(host: Host) -> Allocations:
    from fluxpmix.host.allocation import Allocations

    submits = host.place is not None
    return Allocations(
        host.directory,
        host.job.session.id,
        (lambda: host.get(spawns)) if submits else None,
        lambda: host.get(job_controls),
    )


def monitors(host: Host) -> Monitors:
    from fluxpmix.host.monitor import Monitors

    return Monitors(host.get(events), host.directory, Proc(f"{host.job.nspace}.shell", host.rank))


def time_alerts(host: Host) -> TimeAlerts:
    from fluxpmix.host.timealert import TimeAlerts

    server = Proc(f"{host.job.nspace}.shell", host.rank)
    return TimeAlerts(host.get(events), host.directory, host.rank, server, host.alert)


# -- what each is there for ------------------------------------------------------------------------


class Line(Record):
    """A capability: what makes it, the upcalls that it answers, the frames and the events that it wants to see."""

    make: Callable[[Host], Any]
    serves: tuple[type[upcalls.Upcall], ...] = ()
    takes: tuple[Tag, ...] = ()
    hears: tuple[Status, ...] = ()


TABLE = (
    Line(succession),  # before those that ask it
    Line(fences, (upcalls.Fence,)),
    Line(aborts, (upcalls.Abort,)),
    Line(logs, (upcalls.Log,)),
    Line(direct_modexes, (upcalls.DirectModex,), (Tag.ASK, Tag.DATA)),
    Line(
        datastore,
        (upcalls.Publish, upcalls.Lookup, upcalls.Unpublish),
        (Tag.PUBLISH, Tag.LOOKUP, Tag.UNPUBLISH, Tag.STORED, Tag.FOUND, Tag.CANCEL, Tag.PURGE),
    ),
    Line(queries, (upcalls.Query,), (Tag.TABLE, Tag.ROWS)),
    Line(events, (upcalls.NotifyEvent, upcalls.RegisterEvents), (Tag.EVENT,)),
    Line(failures, (), (Tag.ENDS, Tag.ENDED)),
    Line(job_controls, (upcalls.JobControl,), (Tag.CONTROL, Tag.CONTROLLED)),
    Line(process_sets, (), (Tag.PSET_WANTED, Tag.PSET_DECIDED, Tag.PSET, Tag.PSET_KNOWN, Tag.PSET_LEFT)),
    Line(connections, (upcalls.Connect, upcalls.Disconnect)),
    Line(
        groups,
        (upcalls.Group,),
        (Tag.MEMBER, Tag.GONE, Tag.ABSENT),
        (
            *(Status.GROUP_CONSTRUCT_COMPLETE, Status.GROUP_LEFT, Status.GROUP_INVITED, Status.GROUP_INVITE_DECLINED),
            *(Status.GROUP_LEADER_SELECTED, Status.GROUP_CONSTRUCT_ABORT),
        ),
    ),
    Line(spawns, (upcalls.Spawn,), (Tag.SPAWN, Tag.SPAWNED, Tag.LAUNCH, Tag.LAUNCHED)),
    Line(tools, (upcalls.ToolConnected,)),
    Line(forwarding, (upcalls.IofPull, upcalls.PushStdin), (Tag.WANT, Tag.OUTPUT, Tag.INPUT, Tag.TAKEN)),
    Line(debugging, (), (Tag.READY,), (Status.READY_FOR_DEBUG, Status.DEBUGGER_RELEASE)),
    Line(credentials, (upcalls.GetCredential, upcalls.ValidateCredential), (Tag.CHECK, Tag.CHECKED)),
    Line(allocations, (upcalls.Allocate, upcalls.SessionControl)),
    Line(monitors, (upcalls.Monitor,)),
    Line(time_alerts),
    Line(checkpoints, (), (Tag.CHECKPOINT, Tag.CHECKPOINTED)),
    Line(restarts, (), (Tag.RESTART, Tag.RESTARTED)),  # the last to be told of an end: it may start what has ended
)
ORDER = {line.make: place for place, line in enumerate(TABLE)}
SERVERS = {upcall: line.make for line in TABLE for upcall in line.serves}
RECEIVERS = {tag: line.make for line in TABLE for tag in line.takes}
LISTENERS = {int(status): line.make for line in TABLE for status in line.hears}
