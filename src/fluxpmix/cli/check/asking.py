"""Asking for every attribute of the registration's table, as a client of whatever launcher this is.

Each rank asks about the session, the job, its application and one more, its node and one more, itself and
the next rank: together they ask about all of them, and each is asked about by two. Standard 4.2, section 5.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fluxpmix.cli.check.records import Answer
from fluxpmix.job.registration import Realm, lines
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import PmixError
from fluxpmix.pmix.types import DataArray, Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.client import Client

_MOST_APPS = 4096  # more are nonsense, and are not asked about
_HERE: dict[str, Any] = {a.OPTIONAL: True}  # what was registered is here
_AT_ONCE: dict[str, Any] = {a.IMMEDIATE: True, a.TIMEOUT: 2}  # or the server has it


def ask_all(client: Client, size: int) -> Iterator[Answer]:
    """Yield every answer that this rank of `size` is to get."""
    me, job = client.proc, client.job
    session: dict[str, Any] = {a.SESSION_INFO: True}
    yield from ask(client, Realm.SESSION, "-", job, session)
    yield from ask(client, Realm.JOB, job.nspace, job, {})
    apps = max(_number(client, a.JOB_NUM_APPS, job, 1), 1)
    for app in {abs(_number(client, a.APPNUM, me, 0)) % _MOST_APPS, me.rank % min(apps, _MOST_APPS)}:
        which: dict[str, Any] = {a.APP_INFO: True, a.APPNUM: app}
        yield from ask(client, Realm.APP, str(app), job, which)
    neighbour = Proc(me.nspace, (me.rank + 1) % size)
    hosts = [_text(client, a.HOSTNAME, proc) for proc in (me, neighbour)]
    for host in dict.fromkeys(host for host in hosts if host):
        yield from ask(client, Realm.NODE, host, job, {a.NODE_INFO: True, a.HOSTNAME: host})
    yield from ask(client, Realm.OWN_NODE, hosts[0] or "-", job, _this_node(hosts[0]))
    for proc in dict.fromkeys((me, neighbour)):
        yield from ask(client, Realm.PROC, str(proc.rank), proc, {})
        yield _one(client, Realm.PROC, str(proc.rank), a.HOSTNAME, proc, {})
    yield from ask(client, Realm.LOCAL_PROC, str(me.rank), me, {})


def ask(client: Client, realm: Realm, whose: str, proc: Proc, qualifiers: Mapping[str, Any]) -> Iterator[Answer]:
    """Yield the answers to all attributes of one realm about one subject."""
    for line in lines(realm):
        yield _one(client, realm, whose, line.attribute, proc, qualifiers)


def _one(client: Client, realm: Realm, whose: str, key: str, proc: Proc, qualifiers: Mapping[str, Any]) -> Answer:
    name = a.by_key(key)
    shown = name.name if name is not None else key
    error = ""
    for how in (_HERE, _AT_ONCE):
        try:
            value = client.get_value(key, proc, dict(qualifiers) | how)
        except (PmixError, ValueError, TypeError) as failure:
            error = str(failure)
        else:
            return Answer(realm.value, whose, shown, value.type.name.lower(), _plain(value.data))
    return Answer(realm.value, whose, shown, "", None, error)


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, DataArray):
        return [_plain(item) for item in value.items]
    if isinstance(value, Proc):
        return [value.nspace, value.rank]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _number(client: Client, key: str, proc: Proc, otherwise: int) -> int:
    try:
        value = client.get(key, proc, _HERE)
    except PmixError:
        return otherwise
    return value if isinstance(value, int) else otherwise


def _text(client: Client, key: str, proc: Proc) -> str:
    try:
        value = client.get(key, proc, _HERE)
    except PmixError:
        return ""
    return value if isinstance(value, str) else ""


def _this_node(host: str) -> dict[str, Any]:
    qualifiers: dict[str, Any] = {a.NODE_INFO: True}
    if host:
        qualifiers[a.HOSTNAME] = host
    return qualifiers
