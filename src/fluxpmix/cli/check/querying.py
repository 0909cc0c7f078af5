"""What processes ask the system: queries, nodes and peers. `operations.py` names these steps."""

from __future__ import annotations

from fluxpmix.cli.check.deaths import Wrong
from fluxpmix.cli.check.trying import Trial
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.structures import ProcInfo
from fluxpmix.pmix.types import DataArray, Info, QueryItem


def query(trial: Trial) -> None:
    """Ask for the namespaces."""
    found = trial.client.query([QueryItem((a.QUERY_NAMESPACES,))])
    names = next((str(info.value) for info in found if info.key == a.QUERY_NAMESPACES), "")
    if trial.client.proc.nspace not in names.split(","):
        raise Wrong(f"{trial.client.proc.nspace} is not among the namespaces {names!r}")


def query_processes(trial: Trial) -> None:
    """Ask for the process table."""
    nspace = trial.client.proc.nspace
    found = trial.client.query([QueryItem((a.QUERY_PROC_TABLE,), (Info(a.NSPACE, nspace),))])
    rows = [row for info in found if isinstance(info.value, DataArray) for row in info.value.items]
    ranks = sorted(row.proc.rank for row in rows if isinstance(row, ProcInfo) and row.proc.nspace == nspace)
    if ranks != list(range(trial.size)):
        raise Wrong(f"the table of a job of {trial.size} has the ranks {ranks}")


def resolve(trial: Trial) -> str:
    """Ask for the nodes, and for the processes of each."""
    nspace = trial.client.proc.nspace
    nodes = trial.client.resolve_nodes(nspace)
    peers = sorted(proc for node in nodes for proc in trial.client.resolve_peers(node, nspace))
    if peers != trial.everybody:
        raise Wrong(f"the nodes {', '.join(nodes)} have {len(peers)} of {trial.size} processes")
    return f"{len(nodes)} nodes"
