"""Which CPUs each task of a shell will run on: what flux-shell's own cpu-affinity is about to do, told before.

Used by `plugin.py`, which must register PMIX_CPUSET and the locality before there are tasks. flux-shell binds
itself to the job's cores at shell.init, before our turn, and its tasks in the forked child (flux-shell(1),
cpu-affinity): with `per-task` it spreads them over the cores as hwloc_distrib does, with `map:` it takes
the user's sets. What the kernel makes of a set, within cgroups, is asked of the kernel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence

from fluxpmix.job import idset
from fluxpmix.shell.flux import topology

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FIRST = ("dry-run", "verbose")  # words that may stand before a policy


def cpus(
    option: Any,
    ranks: Sequence[int],
    own: Sequence[int],
    xml: str,
    usable: Collection[int],
    online: Collection[int],
    effect: Callable[[Iterable[int]], Collection[int] | None] | None = None,
) -> dict[int, str | None]:
    """Return each local rank's CPUs, None where it is not bound.

    `option` is the shell option cpu-affinity, `own` are the job's cores here, `xml` describes the node,
    `usable` are the CPUs that flux-shell itself may use now, `online` those that there are. `effect` says what
    binding to some CPUs comes to, None where it fails (default: `tried`).
    """
    policy = _policy(option)
    all_cores = topology.cores(xml)
    # Cores that are not there, as in tests: flux-shell then binds nothing.
    binds = policy != "off" and all(core < len(all_cores) for core in own)
    if not binds and set(usable) >= set(online):
        return dict.fromkeys(ranks)
    inherited = idset.encode(usable)
    if binds and policy == "per-task":
        sets = spread([all_cores[core] for core in own], len(ranks))
    elif binds and policy.startswith("map:"):
        sets = _map(policy[4:], len(ranks), topology.cpus(xml))
    else:
        return dict.fromkeys(ranks, inherited)
    found: dict[int, str | None] = {}
    texts: dict[tuple[int, ...], str] = {}
    for rank, one in zip(ranks, sets, strict=True):
        if one not in texts:
            bound = (effect or tried)(one) if one else None
            texts[one] = idset.encode(bound) if bound else inherited  # flux-shell ignores a failure
        found[rank] = texts[one]
    return found


def spread(cores: Sequence[topology.Core], tasks: int) -> list[tuple[int, ...]]:
    """Deal out whole cores in order, by their number of CPUs, to `tasks` tasks: hwloc_distrib(3) over cores.

    More tasks than cores share them, several in a row on each; cores that are left over go to the task before.
    """
    total = sum(map(len, cores))
    found: list[tuple[int, ...]] = []
    before = 0
    for core in cores:
        upto = before + len(core)
        count = -(-upto * tasks // total) - -(-before * tasks // total)
        if count:
            found.extend([core] * count)
        elif found:
            found[-1] = tuple(sorted({*found[-1], *core}))
        before = upto
    return found


def tried(cpus: Iterable[int]) -> Collection[int] | None:
    """Return the CPUs that the kernel gives to a thread bound to `cpus`, None where it refuses: by trying."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)
    except (OSError, ValueError, OverflowError):
        return None
    try:
        return os.sched_getaffinity(0)
    finally:
        os.sched_setaffinity(0, before)


def _policy(option: Any) -> str:
    """Return off, on, per-task or map:..., from the option as flux-shell reads it."""
    if not isinstance(option, str):
        return "on"
    dry = False
    while option.startswith(_FIRST):
        word = next(word for word in _FIRST if option.startswith(word))
        dry = dry or word == "dry-run"
        option = option.removeprefix(word).removeprefix(",")
    return "off" if dry else option


def _map(text: str, tasks: int, there: frozenset[int]) -> list[tuple[int, ...]]:
    """Return the sets of `A;B;...`, round again for more tasks; empty where hwloc will not bind to one."""
    given = [_set(one, max(there, default=0)) for one in text.split(";") if one] or [()]
    known = [one if there.issuperset(one) else () for one in given]
    return [known[at % len(known)] for at in range(tasks)]


def _set(text: str, last: int) -> tuple[int, ...]:
    """Return the CPUs in a list, a mask in hwloc's form or one in taskset's; none where one is beyond `last`."""
    try:
        if text.startswith("0x"):
            return topology.bitmap(text) if "," in text else topology.bits(int(text, 16))
        found: set[int] = set()
        for part in text.split(","):
            low, dash, high = part.partition("-")
            if int(high if dash else low) > last:
                return ()
            found.update(range(int(low), int(high if dash else low) + 1))
        return tuple(sorted(found))
    except ValueError:
        return ()
