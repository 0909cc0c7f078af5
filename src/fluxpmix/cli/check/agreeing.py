"""What several processes agree on: groups, connections, process sets. `operations.py` names these steps.

Without PMIX_TIMEOUT: libpmix 4.2's server never comes to rest after a group with one, 5.0's after a connect.
"""

from __future__ import annotations

from fluxpmix.cli.check.deaths import Wrong
from fluxpmix.cli.check.exchanging import every_other
from fluxpmix.cli.check.trying import Trial
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.types import Info, QueryItem


def group(trial: Trial) -> str:
    """Construct a group with a context id, and destruct it."""
    found = trial.client.group_construct("check.group", trial.everybody, {a.GROUP_ASSIGN_CONTEXT_ID: True})
    context = next((info.value for info in found if info.key == a.GROUP_CONTEXT_ID), None)
    trial.client.group_destruct("check.group")
    if context is None:
        raise Wrong("no context id came")
    return f"context id {context}"


def connect(trial: Trial) -> None:
    """Connect all to all, and disconnect."""
    trial.client.connect(trial.everybody)
    trial.client.disconnect(trial.everybody)


def define_set(trial: Trial) -> None:
    """Define a process set of every other rank."""
    if not trial.rank:
        trial.client.job_control(map(trial.proc, every_other(trial)), {a.JOB_CTRL_DEFINE_PSET: "check.even"})


def find_set(trial: Trial) -> None:
    """Ask for its members."""
    found = trial.client.query([QueryItem((a.QUERY_PSET_MEMBERSHIP,), (Info(a.PSET_NAME, "check.even"),))])
    members = sorted(proc.rank for info in found for proc in info.value.items)
    if members != every_other(trial):
        raise Wrong(f"the set of ranks {every_other(trial)} has the members {members}")
