"""A process that spawns others which read their input, and pushes some to them: to each what the arguments say.

Usage: feeds DIRECTORY COUNT SPEC..., where a SPEC is RANK=TEXT, or RANK= for the end; a rank of `*` is all of them.
It prints each push's status, under its own rank, and waits for the end of what it has spawned.
"""

from __future__ import annotations

import os
import sys
import threading

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, Status, describe
from fluxpmix.pmix.types import RANK_WILDCARD, AppSpec, Info, Proc

CHILD = 'while read line; do echo "$PMIX_RANK read $line"; done; echo "$PMIX_RANK at the end"'
over = threading.Event()

with Client() as client:
    client.register_event_handler([Status.EVENT_JOB_END], lambda *_: over.set())
    spec = AppSpec("sh", ("sh", "-c", CHILD), maxprocs=int(sys.argv[1]))
    nspace = client.spawn([spec], [Info(a.NOTIFY_COMPLETION, True), Info(a.FWD_STDIN, True)])
    for word in sys.argv[2:]:
        rank, _, text = word.partition("=")
        target = Proc(nspace, RANK_WILDCARD if rank == "*" else int(rank))
        try:
            client.iof_push([target], f"{text}\n".encode() if text else b"")
            said = "SUCCESS"
        except PmixError as error:
            said = describe(error.status)
        os.write(1, f"{word}: {said}\n".encode())
    over.wait(30)
