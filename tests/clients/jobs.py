"""A job and one that it spawns: what either publishes for the session the other finds, and nothing else."""

from __future__ import annotations

import sys

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, describe
from fluxpmix.pmix.types import AppSpec, Proc, Range


def say(*what: object) -> None:
    sys.stdout.write(" ".join(map(str, what)) + "\n")
    sys.stdout.flush()


with Client() as client:
    if len(sys.argv) == 1:
        if client.proc.rank == 0:
            client.publish({"of the session": "from the first", a.RANGE: Range.SESSION})
            client.publish({"of the job": "not for others", a.RANGE: Range.NAMESPACE})
            words = (sys.executable, __file__, "spawned")
            client.spawn([AppSpec(sys.executable, words, maxprocs=2)])
            found = client.lookup(["answer"], {a.WAIT: 1, a.TIMEOUT: 30})[0]
            say("first:", found.value, found.proc.nspace != client.proc.nspace, found.proc.rank)
        client.fence()
    else:
        client.fence()
        if client.proc.rank == 1:
            found = client.lookup(["of the session"])[0]
            say("second:", found.value, found.proc == Proc(client.get(a.PARENT_ID, client.job).nspace, 0))
            try:
                client.lookup(["of the job"])
            except PmixError as error:
                say("second:", describe(error.status))
            client.publish({"answer": "from the second"})
        client.fence()
