"""How many nodes, how many tasks, which task where: pure arithmetic on what was asked for and what is there.

The rules are `flux run`'s. The nodes are emulated: each is this machine once more, so a node has all its
cores, but the nodes share them, and slots (tasks that fit without sharing a core) are counted once.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.cli.errors import CommandError, UsageError, nearest
from fluxpmix.job import hostlist
from fluxpmix.job.model import MOST_ON_NODE
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix.record import Record

SCHEMES = ("block", "cyclic", "manual", "hostfile")


class Machine(Record):
    """What there is: cores and GPUs that we may use, and how many processes the kernel allows."""

    hostname: str
    cores: int
    gpus: int = 0
    max_procs: int = 4_194_304


class Scheme(Record):
    """How tasks are placed; `value` is the stride, the map or the text of the host file."""

    name: str = "block"
    value: str = ""


class Asked(Record):
    """What was asked for, None where nothing was said. `ntasks` is by application."""

    nodes: int | None = None
    ntasks: tuple[int | None, ...] = (None,)
    cores_per_task: int | None = None
    gpus_per_task: int | None = None
    cores: int | None = None
    tasks_per_node: int | None = None
    tasks_per_core: int | None = None
    gpus_per_node: int | None = None
    exclusive: bool = False
    oversubscribe: bool = True
    scheme: Scheme = Scheme()


class Geometry(Record):
    """What the job gets. `sizes` is by application, `hosts` and `slots` are by node."""

    sizes: tuple[int, ...]
    hosts: tuple[str, ...]
    slots: tuple[int, ...]
    taskmap: TaskMap
    cores_per_task: int


def scheme(text: str) -> Scheme:
    """Read `block`, `cyclic[:N]`, `manual:MAP` or `hostfile:FILE`; ValueError says what is expected.

    A host file is named here; `lay_out` wants its text.
    """
    name, colon, value = text.partition(":")
    if name not in SCHEMES:
        raise ValueError(f"one of block, cyclic[:N], manual:MAP, hostfile:FILE is expected{nearest(name, SCHEMES)}")
    if name == "block" and colon:
        raise ValueError("block takes no value")
    if name == "cyclic" and colon and not (value.isascii() and value.isdigit() and int(value) > 0):
        raise ValueError("the stride is a whole number, 1 or more, as in cyclic:2")
    if name == "manual":
        try:
            TaskMap.parse(value)
        except ValueError as error:
            raise ValueError(f"{error}; a map is written like [[0,2,2,1]] or 0-1;2-3 (Flux RFC 34)") from None
    if name in ("manual", "hostfile") and not value:
        raise ValueError(f"{name} needs a value, as in {'manual:[[0,2,2,1]]' if name == 'manual' else 'hostfile:FILE'}")
    return Scheme(name, value)


def lay_out(asked: Asked, machine: Machine) -> Geometry:
    """Return the geometry of a job. Raises CommandError where the machine or the request itself forbids it."""
    _check_mixture(asked)
    nnodes = _nodes(asked)
    sizes, cores_per_task = _tasks(asked, machine, nnodes)
    ntasks = sum(sizes)
    if nnodes > ntasks:
        raise CommandError(
            f"node count must not be greater than task count: {_given(asked)} gives {ntasks} task(s) "
            f"for -N {nnodes} nodes; ask for -n {nnodes} or more, or fewer nodes"
        )
    _check_machine(asked, machine, nnodes, ntasks, cores_per_task)
    hosts = node_names(machine.hostname, nnodes)
    taskmap = _place(asked.scheme, even(ntasks, nnodes), hosts)
    slots = _slots(machine.cores // cores_per_task, taskmap.counts())
    return Geometry(sizes, hosts, slots, taskmap, cores_per_task)


def even(things: int, places: int) -> list[int]:
    """Return how many things each place gets, as even as can be, the first places more."""
    each, more = divmod(things, places)
    return [each + (place < more) for place in range(places)]


def node_names(hostname: str, nnodes: int) -> tuple[str, ...]:
    """Return the names of the nodes: the host's own for one, else numbered."""
    return (hostname,) if nnodes == 1 else tuple(f"{hostname}{node}" for node in range(nnodes))


def _check_mixture(asked: Asked) -> None:
    """Refuse options that contradict each other, as `flux run` does."""
    per_task = [
        name
        for name, given in (
            ("-n", any(size is not None for size in asked.ntasks)),
            ("-c", asked.cores_per_task),
            ("-g", asked.gpus_per_task),
        )
        if given
    ]
    per_resource = [
        name
        for name, given in (
            ("--cores", asked.cores),
            ("--tasks-per-node", asked.tasks_per_node),
            ("--tasks-per-core", asked.tasks_per_core),
            ("--gpus-per-node", asked.gpus_per_node),
        )
        if given
    ]
    if per_task and per_resource:
        raise CommandError(
            f"per-resource options can't be used with per-task options: {per_resource[0]} was given with "
            f"{per_task[0]}; use -N and -n, or -N and {per_resource[0]}"
        )
    if per_resource and len(asked.ntasks) > 1:
        raise CommandError(
            f"{per_resource[0]} counts the tasks of the whole job, and there are {len(asked.ntasks)} "
            "applications: give each of them -n instead"
        )
    if asked.tasks_per_node and asked.tasks_per_core:
        raise CommandError("--tasks-per-node and --tasks-per-core contradict each other: give one of the two")
    if per_resource and asked.nodes is None and asked.cores is None:
        raise CommandError(f"{per_resource[0]} needs a node or core count: add -N N or --cores=N")
    if asked.gpus_per_node and asked.nodes is None:
        raise CommandError("--gpus-per-node needs a node count: add -N N")
    if asked.exclusive and asked.nodes is None:
        raise CommandError("-x takes whole nodes and needs a node count: add -N N")
    if asked.cores and asked.nodes and asked.cores % asked.nodes:
        raise CommandError(
            f"--cores={asked.cores} cannot be divided evenly over -N {asked.nodes} nodes: "
            f"ask for {asked.nodes * (asked.cores // asked.nodes + 1)} cores"
        )


def _nodes(asked: Asked) -> int:
    if asked.nodes is not None:
        return asked.nodes
    # An explicit map says how many nodes it is for.
    return max(TaskMap.parse(asked.scheme.value).nnodes, 1) if asked.scheme.name == "manual" else 1


def _tasks(asked: Asked, machine: Machine, nnodes: int) -> tuple[tuple[int, ...], int]:
    """Return the tasks of each application, and the cores of each task."""
    if asked.cores or asked.tasks_per_node or asked.tasks_per_core:
        per_node = asked.cores // nnodes if asked.cores else machine.cores
        on_node = asked.tasks_per_node or per_node * (asked.tasks_per_core or 1)
        return (on_node * nnodes,), max(per_node // on_node, 1)
    if len(asked.ntasks) == 1:
        mapped = TaskMap.parse(asked.scheme.value).ntasks if asked.scheme.name == "manual" else None
        return (asked.ntasks[0] or asked.nodes or mapped or 1,), asked.cores_per_task or 1
    return tuple(size or 1 for size in asked.ntasks), asked.cores_per_task or 1


def _check_machine(asked: Asked, machine: Machine, nnodes: int, ntasks: int, cores_per_task: int) -> None:
    """Refuse what this machine can never run, and sharing of cores where that is forbidden."""
    cores = machine.cores
    if cores_per_task > cores:
        raise CommandError(
            f"unsatisfiable request: need {ntasks} slot(s) of {cores_per_task} core(s), but a node has "
            f"{cores} core(s): ask for -c {cores} or less"
        )
    if asked.cores and asked.cores // nnodes > cores:
        raise CommandError(
            f"unsatisfiable request: need {asked.cores // nnodes} core(s) on a node, but a node has {cores}: "
            f"ask for --cores={cores * nnodes} or less"
        )
    gpus = max(-(-ntasks // nnodes) * (asked.gpus_per_task or 0), asked.gpus_per_node or 0)
    if gpus > machine.gpus:
        option = "-g" if asked.gpus_per_task else "--gpus-per-node"
        found = f"only {machine.gpus} GPU(s) were found" if machine.gpus else "no GPU was found on this machine"
        raise CommandError(
            f"unsatisfiable request: {option} needs {gpus} GPU(s) on a node, but {found}: leave {option} out"
        )
    if ntasks + nnodes >= machine.max_procs:
        raise CommandError(
            f"unsatisfiable request: {ntasks} task(s) on {nnodes} node(s) are more than the "
            f"{machine.max_procs} processes that this machine's kernel allows: ask for fewer"
        )
    if -(-ntasks // nnodes) > MOST_ON_NODE:
        raise CommandError(
            f"unsatisfiable request: {ntasks} task(s) on {nnodes} node(s) are more than the {MOST_ON_NODE} on a "
            f"node that PMIx counts: ask for -N {-(-ntasks // MOST_ON_NODE)} or more"
        )
    slots = cores // cores_per_task
    if ntasks > slots and not asked.oversubscribe:
        raise CommandError(
            f"unsatisfiable request: need {ntasks} slot(s) of {cores_per_task} core(s), only {slots} such "
            f"slot(s) available (total cores: {cores}): ask for -n {slots} or less, or let tasks share "
            "cores with -o oversubscribe=on"
        )


def _given(asked: Asked) -> str:
    if asked.scheme.name == "manual" and asked.nodes is None:
        return "the task map"
    return " : ".join(f"-n {size or 1}" for size in asked.ntasks)


def _slots(slots: int, counts: Sequence[int]) -> tuple[int, ...]:
    """Share the machine's slots out to the nodes, so that each node knows whether it is crowded.

    As the nodes share the cores, one task too many anywhere crowds them all: then no node may believe
    that its tasks fit, or MPI would spin where it should yield.
    """
    spare = slots - sum(counts)
    if spare >= 0:
        return tuple(count + more for count, more in zip(counts, even(spare, len(counts)), strict=True))
    shares = even(slots, len(counts))
    return tuple(min(share, count - 1) for share, count in zip(shares, counts, strict=True))


def _place(scheme: Scheme, counts: Sequence[int], hosts: Sequence[str]) -> TaskMap:
    if scheme.name == "block":
        return TaskMap.block(counts)
    if scheme.name == "cyclic":
        return TaskMap.cyclic(counts, int(scheme.value or 1))
    if scheme.name == "manual":
        return _checked(TaskMap.parse(scheme.value), f"manual:{scheme.value}", counts)
    return _from_hostfile(scheme.value, sum(counts), hosts)


def _checked(taskmap: TaskMap, text: str, counts: Sequence[int]) -> TaskMap:
    """Return a map that a person wrote if it fits the job."""
    if (taskmap.ntasks, taskmap.nnodes) != (sum(counts), len(counts)):
        raise CommandError(
            f"--taskmap {text!r}: the map has {taskmap.ntasks} task(s) on {taskmap.nnodes} node(s), the job has "
            f"{sum(counts)} on {len(counts)}: change the map, or use -N {taskmap.nnodes} -n {taskmap.ntasks}"
        )
    if 0 in taskmap.counts():
        raise CommandError(f"--taskmap {text!r}: no task is on node {taskmap.counts().index(0)}; every node needs one")
    return taskmap


def _from_hostfile(text: str, ntasks: int, hosts: Sequence[str]) -> TaskMap:
    names: list[str] = []
    for line in text.splitlines():
        try:
            names += hostlist.expand(line.strip())
        except ValueError as error:
            raise UsageError(f"--taskmap hostfile: {error}") from None
    number = {host: node for node, host in enumerate(hosts)}
    for name in names:
        if name not in number:
            raise CommandError(
                f"--taskmap hostfile: {name!r} is no node of this job, whose nodes are {hostlist.compress(hosts)}"
            )
    missing = [host for host in hosts if host not in names[:ntasks]]
    if missing:
        raise CommandError(
            f"--taskmap hostfile: no task is on {missing[0]!r} in the first {ntasks} line(s); every node of "
            "the job needs one"
        )
    return TaskMap.nodes(number[names[task % len(names)]] for task in range(ntasks))
