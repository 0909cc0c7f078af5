"""Spawned processes and the one that spawned them: what they are told, how it steers them and hears of their ends.

Rank 0 spawns three `companion`s in two applications, once; the other operations are about those. `operations.py`
names these steps. Standard 4.2, chapters 11, 12 and 17.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from fluxpmix.cli.check import companion
from fluxpmix.cli.check.deaths import Missing, Wrong
from fluxpmix.cli.check.trying import SOON, Step, Trial
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import PmixError, PmixNotFound, PmixOutOfResource, PmixTimeout, Status
from fluxpmix.pmix.types import RANK_WILDCARD, AppSpec, Infos, IofChannel, Proc, Scope, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SIZE, _FIRST = 3, 2  # processes of both applications, and of the first
_GONE, _STEERED = 0, 1  # the rank that goes without a word, and the one that is steered alone
_COMMAND = (sys.executable, "-m", "fluxpmix.cli.check.companion")
_INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "FLUXPMIX_LIBPMIX")
_CHECKPOINT = "check"
_STEP = 0.02
# Seconds in which a server's libpmix sees by itself that a client's connection is gone, of whose end its host has told
# already: a fence that begins before that may wait for ever.
_NOTICED = 0.2
_ENDS = (
    Status.ERR_PROC_TERM_WO_SYNC,
    Status.ERR_PROC_ABORTED,
    Status.ERR_PROC_ABORTED_BY_SIG,
    Status.ERR_PROC_KILLED_BY_CMD,
    Status.ERR_LOST_CONNECTION,
)


class Company:
    """The spawned processes, as rank 0 knows them."""

    def __init__(self, trial: Trial) -> None:
        self.client = trial.client
        self.nspace = ""
        self.told: list[dict[str, Any]] = []
        self.directory = Path(trial.directory)
        self.clear = trial.clear
        self.ended = threading.Event()
        self.gone: dict[int, int] = {}  # rank to status
        for name in ("deep/one", "kept/one"):
            (self.directory / name).parent.mkdir()
            (self.directory / name).touch()
        (self.directory / "file").touch()
        (self.directory / "deep/out").symlink_to(self.directory / "kept")

    @property
    def everybody(self) -> Proc:
        """All of them."""
        return Proc(self.nspace, RANK_WILDCARD)

    def listen(self) -> None:
        """Hear of their ends from now on."""
        self.client.register_event_handler([Status.EVENT_JOB_END], self._job_ended)
        self.client.register_event_handler(_ENDS, self._proc_ended)

    def hear(self, rank: int) -> str:
        """Wait until rank's end is told. Raises `Wrong`."""
        _until(lambda: rank in self.gone, f"the end of rank {rank} of {self.nspace} was not told in {SOON} s")
        return Status(self.gone[rank]).name

    def here(self) -> list[int]:
        """Return the ids of those processes that are on this node and alive."""
        host = os.uname().nodename
        return [told["pid"] for told in self.told if told["host"] == host and _lives(told["pid"])]

    def _job_ended(self, _status: int, source: Proc, infos: Infos) -> None:
        if self.nspace in (source.nspace, find(infos, a.NSPACE)):
            self.ended.set()

    def _proc_ended(self, status: int, source: Proc, infos: Infos) -> None:
        proc = find(infos, a.EVENT_AFFECTED_PROC, source)
        if proc.nspace == self.nspace:
            self.gone.setdefault(proc.rank, status)


def _of_company(step: Callable[[Company], str | None]) -> Step:
    """Return a step of rank 0 about the processes that it has spawned."""

    @functools.wraps(step)
    def run(trial: Trial) -> str | None:
        if trial.rank:
            return None
        company = trial.shared.get("company")
        if company is None or not company.nspace:
            raise Missing("nothing was spawned to try it with")
        return "answered: there is no room for spawned processes" if company.nspace == _FULL else step(company)

    return run


_FULL = "-"


def spawn(trial: Trial) -> str | None:
    """Spawn two applications in one job."""
    if trial.rank:
        return None
    client = trial.client
    client.put(Scope.GLOBAL, companion.PARENT, "put by the parent")
    client.commit()
    company = trial.shared["company"] = Company(trial)
    company.listen()
    environment = tuple(f"{name}={os.environ[name]}" for name in _INHERITED if name in os.environ)
    argv = (*_COMMAND, client.proc.nspace, "0", str(company.directory))
    mark = f"{companion.VARIABLE}=second"
    apps = (
        AppSpec(argv[0], (*argv, "first"), environment, maxprocs=_FIRST),
        AppSpec(argv[0], (*argv, "second", "of two"), (*environment, mark), "/", _SIZE - _FIRST),
    )
    try:
        company.nspace = client.spawn(apps, {a.NOTIFY_COMPLETION: True})
    except PmixOutOfResource:
        company.nspace = _FULL
        company.clear()
        return f"answered: there is no room for {_SIZE} more"
    except PmixError:
        company.clear()
        raise
    size = client.get(a.JOB_SIZE, company.everybody)
    if size != _SIZE:
        raise Wrong(f"{company.nspace} was to have {_SIZE} processes, and has {size}")
    return f"{_SIZE} processes"


@_of_company
def connect(company: Company) -> None:
    """Connect parent and children; each gets what the other has put."""
    client = company.client
    client.connect([client.proc, company.everybody])
    company.told = [json.loads(_got(company, companion.TOLD, rank)) for rank in range(_SIZE)]
    for rank, told in enumerate(company.told):
        if told["parent"] != "put by the parent":
            raise Wrong(f"rank {rank} of {company.nspace} gets of its parent: {told['parent']}")


@_of_company
def surroundings(company: Company) -> None:
    """Each has the arguments, environment and directory that its application was given."""
    for rank, told in enumerate(company.told):
        second = rank >= _FIRST
        given: dict[str, Any] = {"app": int(second), "words": ["second", "of two"] if second else ["first"]}
        given |= {"variable": "second" if second else None, "size": _SIZE}
        if second:
            given["directory"] = "/"
        wrong = {name: told[name] for name, value in given.items() if told[name] != value}
        if wrong:
            raise Wrong(f"rank {rank} of {company.nspace} has {wrong}, not { ({name: given[name] for name in wrong}) }")


@_of_company
def descent(company: Company) -> None:
    """They know that they were spawned, and by whom."""
    parent = [company.client.proc.nspace, company.client.proc.rank]
    for rank, told in enumerate(company.told):
        if told["spawned"] is not True:
            raise Wrong(f"rank {rank} of {company.nspace}: PMIX_SPAWNED is {told['spawned']}")
        if told["parent id"] != parent:
            raise Wrong(f"rank {rank} of {company.nspace}: PMIX_PARENT_ID is {told['parent id']}, not {parent}")


@_of_company
def steer(company: Company) -> None:
    """Signal one of them, then all; each says so."""
    order = {a.JOB_CTRL_SIGNAL: int(signal.SIGURG)}
    company.client.job_control([Proc(company.nspace, _STEERED)], order)
    _got(company, f"{companion.SIGNALLED}.1", _STEERED)
    company.client.job_control([company.everybody], order)
    for rank in range(_SIZE):
        _got(company, f"{companion.SIGNALLED}.{1 + (rank == _STEERED)}", rank)


@_of_company
def overhear(company: Company) -> None:
    """Pull what they print; one is told to print a line."""
    client, came, heard = company.client, threading.Event(), bytearray()
    line = f"{companion.LINE}, rank {_STEERED}\n".encode()

    def handler(_channel: object, _source: Proc, data: bytes, _infos: object) -> None:
        heard.extend(data)
        if line in heard:
            came.set()

    reference = client.iof_pull([company.everybody], IofChannel.STDERR, handler)
    client.job_control([Proc(company.nspace, _STEERED)], {a.JOB_CTRL_SIGNAL: int(signal.SIGURG)})
    if not came.wait(SOON):
        raise Wrong(f"what rank {_STEERED} of {company.nspace} printed did not come in {SOON} s")
    client.iof_deregister(reference)


@_of_company
def vanish(company: Company) -> str:
    """One goes without a word: that is told, a fence that needs it fails, and the others live on."""
    client, who = company.client, Proc(company.nspace, _GONE)
    client.job_control([who], {a.JOB_CTRL_SIGNAL: int(signal.SIGWINCH)})
    status = company.hear(_GONE)
    time.sleep(_NOTICED)
    try:
        client.fence([client.proc, who])
    except PmixError:
        pass
    else:
        raise Wrong(f"a fence with rank {_GONE} of {company.nspace}, which is gone, ended well")
    client.job_control([Proc(company.nspace, _STEERED)], {a.JOB_CTRL_SIGNAL: int(signal.SIGURG)})
    return f"told as {status}"


@_of_company
def restart(company: Company) -> str:
    """Have one take a checkpoint and restart it from that: another process under the same name, and said to be."""
    who = Proc(company.nspace, _STEERED)
    company.client.job_control([who], {a.JOB_CTRL_CHECKPOINT: _CHECKPOINT})
    company.client.job_control([who], {a.JOB_CTRL_RESTART: _CHECKPOINT})
    (found,) = company.client.lookup([companion.again(who)], {a.WAIT: 1, a.TIMEOUT: SOON})
    pid, incarnation = map(int, found.value.split())
    told = company.told[_STEERED]
    before, told["pid"] = told["pid"], pid
    if pid == before or (told["host"] == os.uname().nodename and _lives(before)):
        raise Wrong(f"rank {_STEERED} of {company.nspace} was restarted, and is process {before} still")
    if incarnation != 1:
        raise Wrong(f"rank {_STEERED} of {company.nspace} was restarted once, and PMIX_REINCARNATION is {incarnation}")
    return f"PMIX_REINCARNATION is {incarnation}"


@_of_company
def kill(company: Company) -> str:
    """Kill one of them: it is gone, and that is told."""
    company.client.job_control([Proc(company.nspace, _SIZE - 1)], {a.JOB_CTRL_KILL: True})
    status = company.hear(_SIZE - 1)
    told = company.told[_SIZE - 1]
    if told["pid"] in company.here():
        raise Wrong(f"rank {_SIZE - 1} of {company.nspace} was killed, and lives")
    return f"told as {status}"


@_of_company
def terminate(company: Company) -> None:
    """Tell all that are left to end: each does as it is told, and is gone."""
    company.client.job_control([company.everybody], {a.JOB_CTRL_TERMINATE: True})
    left = [rank for rank in range(_SIZE) if rank not in company.gone]
    names = [companion.ends(Proc(company.nspace, rank)) for rank in left]
    company.client.lookup(names, {a.WAIT: len(names), a.TIMEOUT: SOON})
    _until(lambda: not company.here(), f"processes of {company.nspace} live on: {company.here()}")


@_of_company
def told_of_the_end(company: Company) -> None:
    """The end of the whole job is told to who has spawned it."""
    if not company.ended.wait(SOON):
        raise Wrong(f"the end of {company.nspace} was not told in {SOON} s")


@_of_company
def cleaned(company: Company) -> str | None:
    """What they have registered for removal is gone, what a link there leads to is not."""
    if os.uname().nodename not in [told["host"] for told in company.told]:
        return "not tried: none of the spawned processes was on this node"
    if wrong := next((told["cleanup"] for told in company.told if told["cleanup"]), None):
        if "NOT_SUPPORTED" in wrong:
            raise Missing(wrong)
        raise Wrong(wrong)
    registered = [company.directory / name for name in ("file", "deep/one")]
    _until(
        lambda: not any(path.exists() for path in registered), f"{company.directory}/file or deep/one is still there"
    )
    if not (company.directory / "kept/one").exists():
        raise Wrong("what was not registered is gone: a symbolic link was followed")
    company.clear()
    return None


def _got(company: Company, key: str, rank: int) -> Any:
    """Return what a process has put, once it has. Raises `Wrong`."""
    proc, deadline = Proc(company.nspace, rank), time.monotonic() + SOON
    while True:
        try:
            return company.client.get(key, proc, {a.TIMEOUT: 1})
        except (PmixNotFound, PmixTimeout):
            if time.monotonic() > deadline:
                raise Wrong(f"rank {rank} of {proc.nspace} has not said {key} in {SOON} s") from None
        time.sleep(_STEP)


def _until(what: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + SOON
    while not what():
        if time.monotonic() > deadline:
            raise Wrong(otherwise)
        time.sleep(_STEP)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
