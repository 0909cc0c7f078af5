"""A task of two: credentials across nodes, more time, and what a kill by command is told as."""

from __future__ import annotations

import os
import sys
import threading
import time

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, Status, describe
from fluxpmix.pmix.types import DataArray, DataType, Info, Infos, Proc, Scope, find

client = Client()
me, nspace = client.proc.rank, client.proc.nspace
other = Proc(nspace, 1 - me)


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, (me, *words))) + "\n")
    sys.stdout.flush()


def credentials(types: list[str]) -> None:
    for kind in types:
        try:
            client.put(Scope.GLOBAL, kind, client.credential([Info(a.CRED_TYPE, kind)]))
        except PmixError as error:
            client.put(Scope.GLOBAL, kind, b"")
            say(kind, describe(error.status))
    client.commit()
    client.fence(collect=True)
    for kind in types:
        theirs = client.get(kind, other)
        if not theirs:
            continue
        infos = client.validate_credential(theirs)
        say(kind, find(infos, a.USERID) == os.getuid(), find(infos, a.GRPID) == os.getgid())
        try:
            client.validate_credential(theirs[:-3] + b"xyz")
        except PmixError as error:
            say(kind, describe(error.status))
    client.fence()


def more_time() -> None:
    if me == 0:
        answer = client.allocate(2, [Info(a.ALLOC_TIME, "100s"), Info(a.ALLOC_REQ_ID, "mine")])
        say("extended", find(answer, a.ALLOC_REQ_ID))
        try:
            client.allocate(1, [Info(a.ALLOC_NUM_NODES, 5)])
        except PmixError as error:
            say("new", describe(error.status))
    client.fence()


def monitor(path: str) -> None:
    """Rank 0 has a file watched that nobody writes to, once it has stopped to."""
    came = threading.Event()
    client.register_event_handler([Status.MONITOR_FILE_ALERT], lambda *_: came.set())
    client.fence()
    if me == 0:
        directives = [
            Info(a.MONITOR_FILE_SIZE, True, DataType.BOOL),
            Info(a.MONITOR_FILE_CHECK_TIME, 1, DataType.UINT32),
            Info(a.MONITOR_FILE_DROPS, 1, DataType.UINT32),
            Info(a.MONITOR_ID, "mine"),
        ]
        found = client.monitor(Info(a.MONITOR_FILE, path), Status.MONITOR_FILE_ALERT, directives)
        say("watched", find(found, a.MONITOR_ID))
    say("alert", came.wait(30))
    client.fence()


def heartbeats() -> None:
    """Rank 0 beats, falls silent, beats and falls silent again; then it wants no more of it."""
    mine = -3500
    heard: list[str] = []
    came = threading.Event()

    def hear(status: int, _source: Proc, infos: Infos) -> None:
        heard.append(f"{status} {find(infos, a.EVENT_AFFECTED_PROC).rank} {find(infos, a.MONITOR_ID)}")
        came.set()

    client.register_event_handler([mine], hear)
    client.fence()
    every = Info(a.MONITOR_HEARTBEAT_TIME, 1, DataType.UINT32)
    beat = Info(a.MONITOR_HEARTBEAT, True, DataType.BOOL)
    if me == 0:
        try:
            client.monitor(beat, mine, [Info(a.MONITOR_HEARTBEAT_DROPS, 1, DataType.UINT32)])
        except PmixError as error:
            say("without a time", describe(error.status))
        drops = Info(a.MONITOR_HEARTBEAT_DROPS, 1, DataType.UINT32)
        client.monitor(beat, mine, [every, drops, Info(a.MONITOR_ID, "mine")])
        for _ in range(2):
            until = time.monotonic() + 3
            while time.monotonic() < until:
                client.heartbeat()
                time.sleep(0.2)
            say("while beating", len(heard))
            came.clear()
            heard.clear()
            came.wait(30)
            say("silent", *heard)
            heard.clear()
        client.monitor(Info(a.MONITOR_CANCEL, "mine"), 0)
        time.sleep(3)
        say("cancelled", len(heard))
    else:
        came.wait(30)
        say("heard", *heard)
    client.fence()


def usage() -> None:
    """What only libpmix 6 has, beside what it does not: what a process uses, and monitors that are not there."""
    found = client.monitor(Info(a.MONITOR_PROC_RESOURCE_USAGE, DataArray(DataType.INFO, ()), DataType.DATA_ARRAY), 0)
    used = find(found, a.PROC_RESOURCE_USAGE)
    say("uses", find(used.items, a.PROCID) == client.proc)
    beat = Info(a.MONITOR_HEARTBEAT, True, DataType.BOOL)
    every = Info(a.MONITOR_HEARTBEAT_TIME, 1, DataType.UINT32)
    others = Info(a.MONITOR_TARGET_PROCS, DataArray(DataType.PROC, (other,)), DataType.DATA_ARRAY)
    for name, what, directives in (("cancelled", Info(a.MONITOR_CANCEL, "none"), ()), ("far", beat, (every, others))):
        try:
            client.monitor(what, 0, directives)
            say(name)
        except PmixError as error:
            say(name, describe(error.status))
    client.fence()


def kill() -> None:
    came = threading.Event()
    heard: list[str] = []

    def hear(status: int, _source: Proc, infos: Infos) -> None:
        heard.append(f"{describe(status)} {find(infos, a.EVENT_AFFECTED_PROC).rank}")
        came.set()

    client.register_event_handler([Status.ERR_PROC_KILLED_BY_CMD, Status.ERR_PROC_ABORTED_BY_SIG], hear)
    client.fence()
    if me == 0:
        client.job_control([other], {a.JOB_CTRL_KILL: True})
        came.wait(30)
        say(*heard)
    else:
        time.sleep(60)


what, *rest = sys.argv[1:]
{
    "credentials": lambda: credentials(rest),
    "time": more_time,
    "monitor": lambda: monitor(*rest),
    "heartbeats": heartbeats,
    "usage": usage,
    "kill": kill,
}[what]()
client.finalize()
