"""A process that waits for a debugger where its job says so: PMIX_DEBUG_STOP_IN_APP. Usage: waits FILE [app]."""

from __future__ import annotations

import sys
import threading

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import Status

with open(sys.argv[1], "a") as file:
    file.write("x")
released = threading.Event()
with Client() as client:
    if sys.argv[2:] == ["app"]:
        assert client.get(a.DEBUG_STOP_IN_APP, client.job)
        client.register_event_handler([Status.DEBUGGER_RELEASE], lambda *_: released.set())
        with open(sys.argv[1], "a") as file:
            file.write("w")
        assert released.wait(60)
        print("released", flush=True)
