"""A task of four on two nodes, of which rank 3 is restarted: alive, and after it has been killed.

    restarts.py HOW SIGNAL

Every rank counts, and writes down in a file how far it has come when it is told to (PMIX_JCTRL_CHECKPOINT, or SIGUSR1
where SIGNAL is "signal"). Rank 0 has all take a checkpoint, and rank 3 restarted from it: by HOW "alive", or "dead".
Prints what each rank has read of the others, and the requests' outcomes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, Status, describe
from fluxpmix.pmix.types import Infos, Proc, Range, Scope, find

how, by = sys.argv[1:3]
SAID = Path(os.environ["SAID"])
LAST = 3
client = Client()
me, nspace = client.proc.rank, client.proc.nspace
everybody = [Proc(nspace, rank) for rank in range(4)]
heard: list[str] = []
checkpointed = threading.Event()
ended = threading.Event()
count = 0


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, (me, *words))) + "\n")
    sys.stdout.flush()


def tell(name: str, text: str = "") -> None:
    (SAID / f".{name}").write_text(text)
    (SAID / f".{name}").rename(SAID / name)


def await_(name: str) -> str:
    deadline = time.monotonic() + 20
    while not (SAID / name).exists():
        assert time.monotonic() < deadline, f"{me} waits for {name}"
        time.sleep(0.01)
    return (SAID / name).read_text()


def write_down(name: str) -> None:
    tell(f"checkpoint.{name}.{me}", str(count))
    checkpointed.set()


def complete() -> None:
    """Say that the checkpoint is taken: not on libpmix's thread, which would have to answer."""
    checkpointed.wait()
    checkpointed.clear()
    client.notify_event(Status.JCTRL_CHECKPOINT_COMPLETE, Range.LOCAL)


def hear(status: int, source: Proc, infos: Infos) -> None:
    if status == Status.JCTRL_CHECKPOINT:
        write_down(find(infos, a.JOB_CTRL_CHECKPOINT))
    else:
        heard.append(f"{describe(status)}:{find(infos, a.EVENT_AFFECTED_PROC).rank}")
        ended.set()


def control(target: int | None, **directives: object) -> str:
    wanted = {getattr(a, key): value for key, value in directives.items()}
    try:
        client.job_control([] if target is None else [Proc(nspace, target)], wanted)
    except PmixError as error:
        return describe(error.status)
    return "done"


def fence(collect: bool = True) -> str:
    try:
        client.fence(everybody, collect=collect)
    except PmixError as error:
        return describe(error.status)
    return "fenced"


def exchange(round_: int) -> None:
    """Put something new, and show what the others read of rank 3, by every way there is."""
    client.put(Scope.GLOBAL, f"key{round_}", f"{me}.{incarnation}")
    client.put(Scope.GLOBAL, "key", f"{me}.{round_}.{incarnation}")
    client.commit()
    say("fence", round_, fence())
    third = Proc(nspace, LAST)
    found = [client.get(f"key{round_}", third), client.get("key", third, {a.GET_REFRESH_CACHE: True})]
    say("read", round_, *found)
    fence()


codes = [Status.ERR_PROC_ABORTED_BY_SIG, Status.ERR_PROC_TERM_WO_SYNC, Status.EVENT_PROC_TERMINATED]
signal.signal(signal.SIGUSR1, lambda *_: write_down("one"))
client.register_event_handler([Status.JCTRL_CHECKPOINT, *codes], hear)
# From libpmix 5.0 on what a process gets of its job when it connects may be what it was at first (docs/libpmix.md).
FRESH = {a.GET_REFRESH_CACHE: True} if client._library.version >= (5, 0) else None
incarnation = client.get(a.REINCARNATION, client.proc, FRESH)
resumed = os.environ.get("FLUXPMIX_CHECKPOINT")
if resumed:
    count = int((SAID / f"checkpoint.{resumed}.{me}").read_text())
say("incarnation", incarnation, "from", resumed, "at", count)
if not incarnation:
    exchange(0)
    count += 10 + me
    threading.Thread(target=complete, daemon=True).start()
    fence(collect=False)
    if me == 0:
        wanted = {"JOB_CTRL_CHECKPOINT_SIGNAL": int(signal.SIGUSR1)} if by == "signal" else {}
        # Python heeds no signal while it is in PMIx_Job_control, as this process is.
        say("checkpoint", control(LAST if by == "signal" else None, JOB_CTRL_CHECKPOINT="one", **wanted))
        say("unknown", control(LAST, JOB_CTRL_RESTART="two"))
        tell("checkpointed")
    else:
        await_("checkpointed")
    count += 100  # which a restart undoes
if me == LAST and not incarnation and how == "dead":
    os.kill(os.getpid(), signal.SIGKILL)
if me == LAST and incarnation == 0:
    time.sleep(60)
if me != LAST and how == "dead":
    assert ended.wait(20), me
    fence(collect=False)  # which one of each node, or all, hear has failed
    tell(f"alone{me}")
if me == 0:
    for rank in range(LAST) if how == "dead" else ():
        await_(f"alone{rank}")
    for again in range(2):
        if again:
            await_("running1")
        say("restart", control(LAST, JOB_CTRL_RESTART="one"))
        if not again:
            tell("restarted1")
    tell("restarted2")
elif me == LAST:
    tell(f"running{incarnation}")
    if incarnation == 1:
        await_("restarted1")
        time.sleep(60)
await_("restarted2")
exchange(1)
exchange(2)
if me != LAST:  # to whom libpmix tells what was the end of its predecessor
    say("heard", *heard)
say("counts", *(client.get(a.REINCARNATION, proc, FRESH) for proc in everybody))
client.finalize()
