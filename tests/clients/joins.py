"""Jobs that were started apart and joined: the first waits for as many others as its argument says, one after another.

The first publishes a word, which each other finds and answers; both read what the other has put.
"""

from __future__ import annotations

import os
import sys

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixNotFound
from fluxpmix.pmix.types import RANK_WILDCARD, Proc, Range, Scope


def say(*what: object) -> None:
    sys.stdout.write(" ".join(map(str, what)) + "\n")
    sys.stdout.flush()


def first(client: Client, others: int) -> None:
    client.put(Scope.GLOBAL, "put", f"by the first's {client.proc.rank}")
    client.commit()
    client.fence()
    if client.proc.rank == 0:
        client.publish({"word": "from the first", a.RANGE: Range.SESSION})
        say("first: ready")
        for turn in range(others):
            found = client.lookup([f"answer {turn}"], {a.WAIT: 1, a.TIMEOUT: 60})[0]
            size = client.get(a.JOB_SIZE, Proc(found.proc.nspace, RANK_WILDCARD))
            say(f"first: {found.value} from rank {found.proc.rank} of {size}, put {client.get('put', found.proc)}")
            client.publish({f"thanks {turn}": turn})
    client.fence()
    say("first: done")


def other(client: Client, turn: int, dies: bool) -> None:
    client.put(Scope.GLOBAL, "put", f"by the other's {client.proc.rank}")
    client.commit()
    client.fence()
    if client.proc.rank == 1:
        found = client.lookup(["word"])[0]
        theirs = client.get("put", Proc(found.proc.nspace, 1))
        say(f"other: {found.value}, put {theirs}, spawned {client.get(a.SPAWNED)}, parent {_parent(client)}")
        client.publish({f"answer {turn}": f"answer {turn}"})
        client.lookup([f"thanks {turn}"], {a.WAIT: 1, a.TIMEOUT: 60})
        if dies:
            os.abort()
    client.fence()


def _parent(client: Client) -> str:
    try:
        return str(client.get(a.PARENT_ID, client.job, {a.OPTIONAL: True}))
    except PmixNotFound:
        return "none"


with Client() as client:
    if sys.argv[1] == "first":
        first(client, int(sys.argv[2]))
    else:
        other(client, int(sys.argv[2]), "dies" in sys.argv)
