"""A task that reads back all that a PMIx host must register, and prints it: `realm whose NAME` and the value, as JSON.

What it looks for is in its arguments: the number of nodes, their host names, and the number of applications.
"""

from __future__ import annotations

import json
import sys

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError
from fluxpmix.pmix.types import RANK_WILDCARD, DataArray, Proc

SESSION = (a.SESSION_ID, a.UNIV_SIZE)
JOB = (
    *(a.SERVER_NSPACE, a.SERVER_RANK, a.NSPACE, a.JOBID, a.JOB_SIZE, a.MAX_PROCS, a.CREDENTIAL, a.JOB_NUM_APPS),
    *(a.NUM_NODES, a.NODE_MAP, a.PROC_MAP, a.MODEL_LIBRARY_NAME, a.SESSION_ID),
)
APP = (a.APPNUM, a.APP_SIZE, a.MAX_PROCS, a.APPLDR, a.WDIR, a.APP_ARGV)
NODE = (
    *(a.NODEID, a.HOSTNAME, a.HOSTNAME_ALIASES, a.LOCAL_SIZE, a.NODE_SIZE, a.LOCALLDR, a.LOCAL_PEERS),
    *(a.NODE_OVERSUBSCRIBED, a.MAX_PROCS),
)
OWN_NODE = (a.TMPDIR, a.NSDIR, a.LOCAL_PROCS, a.TOPOLOGY_SIGNATURE, a.LOCAL_CPUSETS)
PROC = (
    *(a.RANK, a.APPNUM, a.APP_RANK, a.GLOBAL_RANK, a.LOCAL_RANK, a.NODE_RANK, a.NODEID, a.HOSTNAME),
    *(a.REINCARNATION, a.SPAWNED),
)
LOCAL_PROC = (a.LOCALITY_STRING, a.CPUSET, a.PROCDIR, a.PACKAGE_RANK)
# Nobody shall be asked: what was registered is here, or it was not registered.
HERE = {a.OPTIONAL: True}


def main() -> None:
    hosts, napps = sys.argv[1].split(","), int(sys.argv[2])
    with Client() as client:
        wildcard = Proc(client.proc.nspace, RANK_WILDCARD)
        found: dict[str, object] = {"me": client.proc.rank}

        def read(realm: str, whose: object, keys: tuple[str, ...], proc: Proc, more: dict[str, object]) -> None:
            for key in keys:
                try:
                    value = client.get(key, proc, HERE | more)
                except PmixError as error:
                    value = f"error: {error}"
                if isinstance(value, DataArray):
                    value = [[item.nspace, item.rank] for item in value.items]
                elif isinstance(value, bytes):
                    value = value.decode()
                elif value is not None and not isinstance(value, (bool, int, str)):
                    value = repr(value)
                found[f"{realm} {whose} {a.by_key(key).name}"] = value  # type: ignore[union-attr]

        read("session", "-", SESSION, wildcard, {a.SESSION_INFO: True})
        read("job", "-", JOB, wildcard, {})
        for app in range(napps):
            read("app", app, APP, wildcard, {a.APP_INFO: True, a.APPNUM: app})
        for host in hosts:
            read("node", host, NODE, wildcard, {a.NODE_INFO: True, a.HOSTNAME: host})
        own = client.get(a.HOSTNAME, client.proc, HERE)
        read("node", own, OWN_NODE, wildcard, {a.NODE_INFO: True, a.HOSTNAME: own})
        size = client.get(a.JOB_SIZE, wildcard)
        for rank in range(size):
            read("proc", rank, PROC, Proc(client.proc.nspace, rank), {})
        for rank in map(int, str(found[f"node {own} PMIX_LOCAL_PEERS"]).split(",")):
            read("proc", rank, LOCAL_PROC, Proc(client.proc.nspace, rank), {})
        client.fence()  # the others' server must not go before they have read
        sys.stdout.write(json.dumps(found) + "\n")


main()
