"""The operations of PMIx that a launcher may serve, and which steps try each. Standard 4.2, chapters 5 to 13.

`trying` runs them. Each step is done by all ranks at about the same time; most do something in some ranks
only. To add one, write its steps in the module of its subject and name it in `FAMILIES`, or in `LAST` where launchers
may end the job.
"""

from __future__ import annotations

from fluxpmix.cli.check import agreeing, controlling, exchanging, hearing, publishing, querying, spawning
from fluxpmix.cli.check.trying import Family, Operation
from fluxpmix.pmix.types import Persistence, Range

REQUIRED, OPTIONAL = "required", "optional"
_RANGES = (Range.RM, Range.LOCAL, Range.NAMESPACE, Range.SESSION, Range.GLOBAL, Range.CUSTOM, Range.PROC_LOCAL)


def _named(what: Range | Persistence) -> str:
    return what.name.lower().replace("_", " ")


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
    Family((Operation("job control", OPTIONAL, "job control", (controlling.job_control,)),), together=True),
    Family((Operation("pause and resume", OPTIONAL, "job control", (controlling.pause,)),), together=True),
    Family((Operation("credential", OPTIONAL, "credential", (controlling.credential,)),), together=True),
    Family(
        (Operation("process set", OPTIONAL, "process set", (agreeing.define_set, agreeing.find_set)),), together=True
    ),
    Family((Operation("spawn", OPTIONAL, "spawn", (spawning.spawn,)),), together=True),
)
# Tried when all else is reported: Slurm's PMIx ends the job at the first event, mpirun 4.1 at a spawn that fails.
LAST = (
    Family(
        (Operation("events", OPTIONAL, "events", (hearing.listen, hearing.raise_events, hearing.listen_no_more)),),
        together=True,
    ),
    Family(
        (Operation("output of another process", OPTIONAL, "output", (hearing.pull, hearing.print_line)),), together=True
    ),
    Family(
        (Operation("heartbeats", OPTIONAL, "monitor", (hearing.watch, hearing.hear, hearing.listen_no_more)),),
        together=True,
    ),
    Family((Operation("spawn of what is not there", OPTIONAL, "spawn", (spawning.spawn_nothing,)),), together=True),
)
