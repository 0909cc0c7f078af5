"""What processes hear of each other by their host: events, output and input, heartbeats that stay away, files that
nobody writes to.

`operations.py` names these steps.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

from fluxpmix.cli.check.deaths import Missing, Wrong
from fluxpmix.cli.check.trying import SOON, Trial
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import PmixError, Status
from fluxpmix.pmix.types import DataType, Info, IofChannel, Proc, Range, Scope

_EVENT = -3000  # outside PMIx's own codes: an application's
_PUSHED = "check.pushed"
_INPUT = b"flux-pmix check: this line came by PMIx_IOF_push\n"
_LINE = b"flux-pmix check: this line came by PMIx_IOF_pull\n"


def listen(trial: Trial) -> None:
    """Register for an event of ours."""
    came: dict[int, threading.Event] = {rank: threading.Event() for rank in (0, trial.size - 1)}

    def handler(status: int, source: Proc, found: object) -> None:
        if source.rank in came:
            came[source.rank].set()

    trial.kept["came"] = came
    trial.kept["handler"] = trial.client.register_event_handler([_EVENT], handler)


def raise_events(trial: Trial) -> None:
    """Raise one event in the first and one in the last rank, which is on another node where there is one."""
    came = trial.kept["came"]
    if trial.rank in came:
        trial.client.notify_event(_EVENT, Range.NAMESPACE)
    deadline = time.monotonic() + SOON
    for rank, event in came.items():
        if not event.wait(deadline - time.monotonic()):
            raise Wrong(f"the event that rank {rank} raised did not come in {SOON} s")


def listen_no_more(trial: Trial) -> None:
    """Deregister."""
    trial.client.deregister_event_handler(trial.kept["handler"])


def pull(trial: Trial) -> None:
    """Have the first rank listen to the last."""
    if not trial.rank:
        came = trial.kept["came"] = threading.Event()
        heard: list[bytes] = []

        def handler(_channel: object, _source: Proc, data: bytes, _infos: object) -> None:
            heard.append(data)
            if _LINE.strip() in b"".join(heard):
                came.set()

        trial.kept["pull"] = trial.client.iof_pull([trial.proc(trial.size - 1)], IofChannel.STDERR, handler)


def print_line(trial: Trial) -> str | None:
    """Have the last rank print a line, which the first is to hear."""
    if trial.size < 2:
        return "needs 2 ranks"
    if trial.rank == trial.size - 1:
        os.write(2, _LINE)
    if not trial.rank:
        if not trial.kept["came"].wait(SOON):
            raise Wrong(f"what rank {trial.size - 1} printed did not come in {SOON} s")
        trial.client.iof_deregister(trial.kept["pull"])
    return None


def take_input(trial: Trial) -> None:
    """Have the last rank look for a line on its standard input."""
    if trial.rank == trial.size - 1:
        came = trial.kept["came"] = threading.Event()

        def read() -> None:
            heard = b""
            with suppress(OSError):
                while data := os.read(0, 65536):
                    heard = (heard + data)[-65536:]
                    if _INPUT in heard:
                        came.set()
                        return

        threading.Thread(target=read, daemon=True).start()


def push(trial: Trial) -> str | None:
    """Have the first rank push that line."""
    if trial.rank:
        return None
    last, taken = trial.size - 1, False
    try:
        trial.client.iof_push([trial.proc(last)], _INPUT)
        taken = True
    except PmixError as error:
        if error.status == Status.ERR_COMM_FAILURE and trial.client.library.version >= (6, 0):
            raise Missing("libpmix 6 tells no client what became of it") from None
        if error.status != Status.ERR_NOT_AVAILABLE:
            raise
        return f"answered: rank {last} has no input that can be written to"
    finally:
        trial.client.put(Scope.GLOBAL, _PUSHED, taken)
        trial.client.commit()
    return None


def input_came(trial: Trial) -> None:
    """The last rank has it."""
    if trial.rank == trial.size - 1:
        taken = trial.client.get(_PUSHED, trial.proc(0), {a.TIMEOUT: 1})
        if taken and not trial.kept["came"].wait(SOON):
            raise Wrong(f"what was pushed to rank {trial.rank} did not come in {SOON} s")


def watch(trial: Trial) -> None:
    """Have the first rank's heartbeats monitored; it sends none, and all others are to hear of that."""
    came = trial.kept["came"] = threading.Event()
    trial.kept["handler"] = trial.client.register_event_handler([Status.MONITOR_HEARTBEAT_ALERT], lambda *_: came.set())
    if not trial.rank:
        every = Info(a.MONITOR_HEARTBEAT_TIME, 1, DataType.UINT32)
        trial.client.monitor(Info(a.MONITOR_HEARTBEAT, True), Status.MONITOR_HEARTBEAT_ALERT, [every])


def hear(trial: Trial) -> str | None:
    """Wait for the alert; libpmix itself does not tell the one that is silent."""
    if trial.size < 2:
        return "needs 2 ranks"
    if not trial.kept["came"].wait(SOON) and trial.rank:
        raise Wrong(f"rank 0 sent no heartbeat, and nobody said so in {SOON} s")
    return None


def watch_file(trial: Trial) -> None:
    """Have the first rank let a file be monitored that nobody writes to; all are to hear of that."""
    came = trial.kept["came"] = threading.Event()
    trial.kept["handler"] = trial.client.register_event_handler([Status.MONITOR_FILE_ALERT], lambda *_: came.set())
    if not trial.rank:
        path = os.path.join(trial.directory, "stands-still")
        with open(path, "wb"):
            pass
        directives = [
            Info(a.MONITOR_FILE_SIZE, True, DataType.BOOL),
            Info(a.MONITOR_FILE_CHECK_TIME, 1, DataType.UINT32),
            Info(a.MONITOR_ID, "check.file"),
        ]
        trial.client.monitor(Info(a.MONITOR_FILE, path), Status.MONITOR_FILE_ALERT, directives)


def hear_of_file(trial: Trial) -> None:
    """Wait for the alert."""
    if not trial.kept["came"].wait(SOON):
        raise Wrong(f"nobody wrote to a file that is monitored, and rank {trial.rank} was not told in {SOON} s")
