"""A process that spawns others whose output is to be shown as its arguments say: attributes, KEY or KEY=VALUE.

What they run is the text in $TEXT, if that is set.
"""

from __future__ import annotations

import os
import sys

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import AppSpec, Info

directives = [Info(a.NOTIFY_COMPLETION, True)]
for word in sys.argv[1:]:
    key, separator, value = word.partition("=")
    directives.append(Info(getattr(a, key), value if separator else True))
with Client() as client:
    import threading

    over = threading.Event()
    client.register_event_handler([Status.EVENT_JOB_END], lambda *_: over.set())
    text = os.environ.get("TEXT", "echo out; echo err >&2")
    nspace = client.spawn([AppSpec("sh", ("sh", "-c", text), maxprocs=2)], directives)
    over.wait(30)
    print(f"nspace {nspace}", flush=True)
