"""A job and one that it spawns ask who is where, of both jobs: each prints what it is told beside what is so.

A line for each question: who asks, the job, the node, and the ranks on it; `*` stands for all jobs, `.` for the asker's
own node. What is so each process knows of itself: it puts the node that its server gave it as a key.
"""

from __future__ import annotations

import os
import sys

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, describe
from fluxpmix.pmix.types import RANK_WILDCARD, AppSpec, Proc, Scope

TURN = "spawned" if len(sys.argv) > 1 else "first"


def ask(client: Client, jobs: dict[str, str]) -> None:
    """Ask all questions, from rank 0 of each job."""
    where: dict[Proc, str] = {}
    for nspace in jobs:
        for rank in range(client.get(a.JOB_SIZE, Proc(nspace, RANK_WILDCARD))):
            proc = Proc(nspace, rank)
            where[proc] = client.get("my node", proc)
    nodes = sorted(set(where.values()))
    for nspace, name in (*jobs.items(), (None, "*")):
        for node in (*nodes, None):
            truth = {
                proc
                for proc, at in where.items()
                if nspace in (None, proc.nspace) and at == (node or where[client.proc])
            }
            try:
                told = client.resolve_peers(node, nspace)
                ranks = sorted(f"{jobs[proc.nspace]} {proc.rank}" for proc in told)
                right = set(told) == truth and len(told) == len(truth)
            except PmixError as error:
                ranks, right = [describe(error.status)], not truth
            at = "." if node is None else str(nodes.index(node))
            sys.stdout.write(f"{TURN}: {name} on {at}: {', '.join(ranks)} {right}\n")
    for nspace, name in jobs.items():
        found = client.resolve_nodes(nspace)
        right = sorted(found) == sorted({at for proc, at in where.items() if proc.nspace == nspace})
        sys.stdout.write(f"{TURN}: nodes of {name}: {len(found)} {right}\n")
    for node, nspace in (("no.such.node", None), (None, "no such job")):
        try:
            told = client.resolve_peers(node, nspace)
            said = f"{len(told)}"
        except PmixError as error:
            said = describe(error.status)
        sys.stdout.write(f"{TURN}: {node} {nspace}: {said}\n")
    sys.stdout.flush()


with Client() as client:
    client.put(Scope.GLOBAL, "my node", os.environ["PMIX_HOSTNAME"])
    client.commit()
    client.fence()
    if TURN == "first":
        other = ""
        if client.proc.rank == 0:
            other = client.spawn([AppSpec(sys.executable, (sys.executable, __file__, "spawned"), maxprocs=3)])
            client.connect([client.proc, Proc(other, RANK_WILDCARD)])
            ask(client, {client.proc.nspace: "first", other: "spawned"})
            client.disconnect([client.proc, Proc(other, RANK_WILDCARD)])
    else:
        parent = client.get(a.PARENT_ID, client.job)
        both = [parent, client.job]
        client.connect(both)
        if client.proc.rank == 0:
            ask(client, {parent.nspace: "first", client.proc.nspace: "spawned"})
        client.disconnect(both)
    client.fence()
