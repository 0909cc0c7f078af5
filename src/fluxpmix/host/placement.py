"""Where the processes of a spawned job go: slots that are free, or more than that where it is allowed.

`spawn.py` asks `place` on the shell that decides. Pure arithmetic on names and counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.host.publication import Refused
from fluxpmix.host.spawnrequest import Policy
from fluxpmix.job.model import Node
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix.status import Status


def place(
    sizes: Sequence[int],
    policies: Sequence[Policy],
    nodes: Sequence[Node],
    busy: Sequence[int],
    oversubscribe: bool,
    among: range | None = None,
) -> TaskMap:
    """Return where each rank goes, application by application.

    `busy` is how many processes run on each node; `among` are the nodes that may be used. Raises `Refused`:
    PMIX_ERR_OUT_OF_RESOURCE where there is no room, PMIX_ERR_NOT_FOUND for a node that the job does not have.
    """
    load = list(busy)
    slots = [node.slots for node in nodes]
    column: list[int] = []
    for size, policy in zip(sizes, policies, strict=True):
        limits = _limits(policy, nodes, size, among or range(len(nodes)))
        names, counts, at = tuple(limits), dict.fromkeys(limits, 0), 0
        for _ in range(size):
            turn = (names[(at + step) % len(names)] for step in range(len(names)))
            room = [node for node in turn if counts[node] < limits[node]]
            node = next((each for each in room if load[each] < slots[each]), None)
            if node is None and oversubscribe:
                node = min(room, key=lambda each: (load[each] - slots[each], each), default=None)
            if node is None:
                raise Refused(
                    Status.ERR_OUT_OF_RESOURCE,
                    f"{size} process(es) are wanted, and only {sum(counts.values())} fit on "
                    f"{', '.join(nodes[each].hostname for each in limits)}",
                )
            counts[node] += 1
            load[node] += 1
            at = names.index(node) + (policy.by == "node")
        column += _ranked(policy, counts)
    return TaskMap.nodes(column)


def _limits(policy: Policy, nodes: Sequence[Node], size: int, among: range) -> dict[int, int]:
    """Return the nodes that an application may have, and how many of its processes each may get at most."""
    most = size if policy.per_node is None else policy.per_node
    if policy.hosts is None:
        return dict.fromkeys(among, most)
    own = [nodes[number] for number in among]
    numbers = {name: node.id for node in reversed(own) for name in (*node.aliases, node.hostname)}
    found: dict[int, int] = {}
    for name, limit in policy.hosts:
        if name not in numbers:
            raise Refused(
                Status.ERR_NOT_FOUND,
                f"{name!r} is no node of this job: it has {', '.join(node.hostname for node in own)}",
            )
        found[numbers[name]] = most if limit is None else min(limit, most)
    return found


def _ranked(policy: Policy, counts: dict[int, int]) -> list[int]:
    """Return the node of each rank of an application."""
    if (policy.rank_by or policy.by) == "slot":
        return [node for node in counts for _ in range(counts[node])]
    left, column = dict(counts), []
    while any(left.values()):
        for node in [each for each in left if left[each]]:
            left[node] -= 1
            column.append(node)
    return column
