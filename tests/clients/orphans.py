"""A task of four: ranks 0 and 1 wait for data, rank 3 kills them and then gives it, rank 2 finds it all the same.

Ranks 0 to 2 are on one node, rank 3 is on another.
"""

from __future__ import annotations

import os
import signal
import sys

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.types import Info, Proc, QueryItem, Scope

client = Client()
me, nspace = client.proc.rank, client.proc.nspace
if me == 0:
    client.publish([Info("waits-0", os.getpid())])
    client.get("given", Proc(nspace, 3))
elif me == 1:
    client.publish([Info("waits-1", os.getpid())])
    client.lookup(["published"], {a.WAIT: 0})
elif me == 3:
    victims = client.lookup(["waits-0", "waits-1"], {a.WAIT: 0})
    for one in victims:
        os.kill(one.value, signal.SIGKILL)
    gone = 0
    while gone < 2:  # until the other shell has seen them go
        states = [QueryItem((a.PROC_STATE_STATUS,), (Info(a.NSPACE, nspace), Info(a.RANK, rank))) for rank in (0, 1)]
        gone = sum(one.value == 54 for one in client.query(states))
    client.put(Scope.GLOBAL, "given", "given")
    client.commit()
    client.publish([Info("published", "published")])
    client.lookup(["done"], {a.WAIT: 0})
else:
    found = client.lookup(["published"], {a.WAIT: 0})[0].value
    sys.stdout.write(f"{found} {client.get('given', Proc(nspace, 3))}\n")
    client.publish([Info("done", True)])
client.finalize()
