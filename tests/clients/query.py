"""A task of which rank 0 asks about the system, and prints each answer: the key's name and what came, as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, describe
from fluxpmix.pmix.types import Info, QueryItem


def plain(value: Any) -> Any:
    if hasattr(value, "items"):
        return [plain(item) for item in value.items]
    if hasattr(value, "executable"):
        return [value.proc.rank, value.hostname, value.pid > 0, value.exit_code, value.state]
    if isinstance(value, Info):
        return [value.key, plain(value.value)]
    return value


with Client() as client:
    client.fence()
    if client.proc.rank == 0:

        def ask(*keys: str, **qualifiers: Any) -> None:
            infos = tuple(Info(getattr(a, name), value) for name, value in qualifiers.items())
            try:
                found: Any = [
                    [a.by_key(one.key).name, plain(one.value)] for one in client.query([QueryItem(keys, infos)])
                ]
            except PmixError as error:
                found = describe(error.status)
            sys.stdout.write(json.dumps(found).replace(client.proc.nspace, "NSPACE") + "\n")

        ask(a.QUERY_NAMESPACES)
        ask(a.QUERY_PROC_TABLE, NSPACE=client.proc.nspace)
        ask(a.QUERY_LOCAL_PROC_TABLE, NSPACE=client.proc.nspace)
        ask(a.QUERY_JOB_STATUS, NSPACE=client.proc.nspace)
        ask(a.PROC_STATE_STATUS, NSPACE=client.proc.nspace, RANK=2)
        ask(a.QUERY_NAMESPACE_INFO)
        ask(a.QUERY_NAMESPACES, a.TIME_REMAINING)
        ask("pmix.unheard.of")
        nodes = client.resolve_nodes(client.proc.nspace)
        peers = [[proc.rank for proc in client.resolve_peers(node, client.proc.nspace)] for node in nodes]
        sys.stdout.write(json.dumps([nodes, peers]) + "\n")
    client.fence()
