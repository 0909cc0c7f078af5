"""The operations of PMIx that a launcher may serve, and which steps try each. Standard 4.2, chapters 5 to 13.

`trying` runs them. Each step is done by all ranks at about the same time; most do something in some ranks
only. To add one, write its steps in the module of its subject and name it in `FAMILIES`, or in one of the `stages`
of what is tried last, where launchers may end the job.
"""

from __future__ import annotations

from fluxpmix.cli.check import (
    agreeing,
    company,
    controlling,
    exchanging,
    growing,
    hearing,
    proving,
    publishing,
    querying,
    spawning,
    telling,
    visiting,
)
from fluxpmix.cli.check.trying import Family, Operation, Step
from fluxpmix.pmix.types import Persistence, Range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

REQUIRED, OPTIONAL = "required", "optional"
_RANGES = (Range.RM, Range.LOCAL, Range.NAMESPACE, Range.SESSION, Range.GLOBAL, Range.CUSTOM, Range.PROC_LOCAL)


def _named(what: Range | Persistence) -> str:
    return what.name.lower().replace("_", " ")


def _optional(name: str, kind: str, *steps: Step) -> Operation:
    return Operation(name, OPTIONAL, kind, steps)


FAMILIES = (
    Family((Operation("fence", REQUIRED, "fence", (exchanging.fence,)),), together=True),
    Family((Operation("fence with data", REQUIRED, "fence", (exchanging.fence_with_data,)),), together=True),
    Family((Operation("fence of some processes", REQUIRED, "fence", (exchanging.fence_of_some,)),), together=True),
    Family(
        (
            Operation(
                "direct modex of what is there", REQUIRED, "modex", (exchanging.modex_put, exchanging.modex_present)
            ),
        )
    ),
    Family((Operation("direct modex of what is not", REQUIRED, "modex of nothing", (exchanging.modex_absent,)),)),
    Family((Operation("fence with a time limit", OPTIONAL, "fence that ends", (exchanging.fence_with_timeout,)),)),
    # Behind those: under Slurm it hangs, and fences after it are taken for it.
    Family(
        (Operation("fence of some processes, with data", REQUIRED, "fence", (exchanging.fence_of_some_with_data,)),),
        together=True,
    ),
    Family(
        (
            *(
                Operation(
                    f"publish, range {_named(each)}",
                    OPTIONAL,
                    "publish",
                    publishing.publication(each, Persistence.SESSION),
                )
                for each in _RANGES
            ),
            *(
                Operation(
                    f"publish, until {_named(each)}", OPTIONAL, "publish", publishing.publication(Range.SESSION, each)
                )
                for each in Persistence
                if each is not Persistence.INVALID
            ),
            Operation("lookup of what is not there", OPTIONAL, "publish", (publishing.lookup_absent,)),
            Operation(
                "unpublish",
                OPTIONAL,
                "publish",
                (publishing.publish_to_take_back, publishing.look_for_what_was_taken_back, publishing.unpublish_all),
            ),
            Operation("lookup that waits", OPTIONAL, "publish", (publishing.lookup_waits, publishing.unpublish_late)),
        )
    ),
    Family((Operation("group construct, destruct", OPTIONAL, "group", (agreeing.group,)),), together=True),
    Family((Operation("connect, disconnect", OPTIONAL, "connect", (agreeing.connect,)),), together=True),
    Family((Operation("query", OPTIONAL, "query", (querying.query,)),), together=True),
    Family((Operation("query of all processes", OPTIONAL, "query", (querying.query_processes,)),), together=True),
    Family((Operation("resolve nodes and peers", OPTIONAL, "resolve", (querying.resolve,)),), together=True),
    Family((Operation("log", OPTIONAL, "log", (controlling.log,)),), together=True),
    Family(
        (
            _optional(
                "signal to a process",
                "job control",
                controlling.count,
                controlling.signal_one,
                controlling.one_was_signalled,
            ),
            _optional(
                "signal to a job",
                "job control",
                controlling.count,
                controlling.signal_all,
                controlling.all_were_signalled,
            ),
            _optional("pause and resume", "job control", controlling.tick, controlling.pause, controlling.was_paused),
        ),
        together=True,
    ),
    Family(
        (
            _optional("credential", "credential", proving.credential),
            _optional("credential of another, and forged", "credential", proving.show, proving.validate),
        ),
        together=True,
    ),
    Family(
        (Operation("process set", OPTIONAL, "process set", (agreeing.define_set, agreeing.find_set)),), together=True
    ),
    Family((_optional("more time", "allocation", growing.more_time),), together=True),
    Family((Operation("spawn", OPTIONAL, "spawn", (spawning.spawn,)),), together=True),
)
# What is tried when all else is reported, in stages, each of which is reported before the next: a launcher may end the
# job in one, or stand still. Slurm's PMIx ends it at the first event, mpirun 4.1 at a spawn that fails; mpirun stands
# still at events, prterun where what spawned processes print is pulled, and ends the job at two mappings.
_LATER = (
    Family((_optional("spawn as a job of its own", "allocation", growing.own_job),), together=True),
    Family((_optional("allocation of a core", "allocation", growing.new_resources),), together=True),
    Family(
        (
            _optional(
                "session control",
                "session",
                controlling.count,
                controlling.signal_session,
                controlling.session_was_signalled,
            ),
        ),
        together=True,
    ),
)
# Of processes that rank 0 spawns, one after the other.
_COMPANY = (
    Family((_optional("spawn of two applications", "spawn", company.spawn),), together=True),
    Family((_optional("connect of parent and children", "spawned", company.connect),)),
    Family((_optional("spawned: command and surroundings", "spawned", company.surroundings),)),
    Family((_optional("spawned: who spawned them", "spawned", company.descent),)),
    Family((_optional("spawned: signals to one and all", "spawned", company.steer),)),
)
_EVENTS = (
    Family(
        (_optional("events", "events", hearing.listen, hearing.raise_events, hearing.listen_no_more),), together=True
    ),
    Family(
        (
            *(
                _optional(f"event, range {_named(each)}", "events", *telling.ranged(each))
                for each in (Range.PROC_LOCAL, Range.LOCAL, Range.CUSTOM, Range.NAMESPACE, Range.SESSION, Range.GLOBAL)
            ),
            _optional("event, not for default handlers", "events", *telling.not_for_default()),
            _optional("event, for who registers late", "events", *telling.late()),
            _optional("event, about one process", "events", *telling.affected()),
        ),
        together=True,
    ),
    Family((_optional("output of another process", "output", hearing.pull, hearing.print_line),), together=True),
    Family(
        (_optional("input of another process", "input", hearing.take_input, hearing.push, hearing.input_came),),
        together=True,
    ),
)
# Whoever is watched has to be silent for two seconds, which is as long as all the rest.
_MONITORS = (
    Family(
        (
            _optional("heartbeats", "monitor", hearing.watch, hearing.hear, hearing.listen_no_more),
            _optional(
                "file that stands still",
                "monitor",
                hearing.watch_file,
                hearing.hear_of_file,
                hearing.listen_no_more,
            ),
        ),
        together=True,
    ),
)
_LOST = (Family((_optional("spawned: one is lost, others go on", "spawned", company.vanish),)),)
_RESTARTED = (Family((_optional("spawned: checkpoint and restart", "job control", company.restart),)),)
_KILLED = (Family((_optional("spawned: kill", "spawned", company.kill),)),)
_ENDED = (
    Family((_optional("spawned: terminate", "spawned", company.terminate),)),
    Family((_optional("spawned: their end is told", "spawned", company.told_of_the_end),)),
    Family((_optional("spawned: cleanup behind them", "spawned", company.cleaned),)),
)
_REFUSED = (
    (Family((_optional("spawn of what is not there", "spawn", spawning.spawn_nothing),), together=True),),
    (Family((_optional("spawn of no process", "spawn", spawning.spawn_nobody),), together=True),),
)
_OVERHEARD = (Family((_optional("spawned: their output", "output", company.overhear),)),)
# Behind what pulls output: hosts are not told whose a pull is, and may end those of processes with a tool that leaves.
_TOOL = (Family((_optional("tool that connects", "tool", visiting.say_pid, visiting.look),), together=True),)
_CONTRADICTORY = (
    Family((_optional("spawn, mapped in two ways", "spawn", spawning.spawn_contradiction),), together=True),
)


def stages(options: Collection[str]) -> tuple[tuple[Family, ...], ...]:
    """Return what is tried last under these options of the command."""
    killed = (_KILLED,) if "kill" in options else ()
    watched = (_MONITORS,) if "monitors" in options else ()
    before = (_LATER, _COMPANY, _EVENTS, *watched, _LOST, *_REFUSED, _OVERHEARD, _TOOL, _RESTARTED)
    return (*before, *killed, _ENDED, _CONTRADICTORY)
