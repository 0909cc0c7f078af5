"""One of four tasks that look at process sets, those of the job and one that rank 2 defines. Prints what it sees."""

from __future__ import annotations

import os
import sys
import threading

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, Status, describe
from fluxpmix.pmix.types import DataArray, Info, Infos, Proc, QueryItem, find

client = Client()
me, nspace = client.proc.rank, client.proc.nspace
size = client.get(a.JOB_SIZE, client.job)
told: dict[str, list[int] | None] = {}
news = threading.Condition()


def say(*what: object) -> None:
    sys.stdout.write(" ".join(map(str, (me, *what))) + "\n")
    sys.stdout.flush()


def hear(status: int, _source: Proc, infos: Infos) -> None:
    members = find(infos, a.PSET_MEMBERS)
    with news:
        ranks = [proc.rank for proc in members.items] if isinstance(members, DataArray) else []
        told[find(infos, a.PSET_NAME)] = ranks if status == Status.PROCESS_SET_DEFINE else None
        news.notify_all()


def wait_for(name: str, ranks: list[int] | None) -> None:
    with news:
        assert news.wait_for(lambda: name in told and told[name] == ranks, 20), (me, name, told)


def ask(key: str, pset: str | None = None) -> object:
    qualifiers = () if pset is None else (Info(a.PSET_NAME, pset),)
    try:
        value = client.query([QueryItem((key,), qualifiers)])[0].value
    except PmixError as error:
        return describe(error.status)
    return [proc.rank for proc in value.items] if isinstance(value, DataArray) else value


def mine(rank: int) -> str:
    """The sets that a process is in, as libpmix says it: a text (5.0), or a list."""
    try:
        found = client.get(a.PSET_NAMES, Proc(nspace, rank))
    except PmixError as error:
        return describe(error.status)
    return found if isinstance(found, str) else ",".join(found.items)


def define(name: str, *ranks: int) -> str:
    try:
        client.job_control([Proc(nspace, rank) for rank in ranks], {a.JOB_CTRL_DEFINE_PSET: name})
    except PmixError as error:
        return describe(error.status)
    return "defined"


client.register_event_handler([int(Status.PROCESS_SET_DEFINE), int(Status.PROCESS_SET_DELETE)], hear)
wait_for("left", [0, 1])
wait_for("odd.ones", [1, 3])
say(ask(a.QUERY_NUM_PSETS), ask(a.QUERY_PSET_NAMES), ask(a.QUERY_PSET_MEMBERSHIP, "odd.ones"))
client.fence()
if me == 2:
    say(define("late", 3, 2), define("left", 0), define("left", 1, 0), define("a,b", 1), define("", 1))
    say(define("odd", 99))
client.fence()
assert ask(a.QUERY_PSET_MEMBERSHIP, "late") == [2, 3], "whoever is told later must know it by now"
assert ask(a.QUERY_PSET_MEMBERSHIP, "none") == "PMIX_ERR_NOT_FOUND"
say("is in", mine(me), "0 is in", mine(0))
wait_for("late", [2, 3])
client.fence()
if me >= 2:
    client.finalize()
    os._exit(0)
wait_for("late", None)
say("left over:", ask(a.QUERY_PSET_NAMES))
client.finalize()
