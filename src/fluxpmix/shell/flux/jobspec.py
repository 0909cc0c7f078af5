"""The jobspec (RFC 25) of a job that a process spawns, or of an allocation that it asks for: what `flux submit` writes.

`jobs.py` has it made. The tasks get the environment and the shell options of the job that asks. One jobspec has one
command; where several applications are spawned a line of shell script runs the one that a task's rank belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil

from fluxpmix.host.publication import Refused
from fluxpmix.pmix.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.host.spawnrequest import Command, Policy
    from fluxpmix.host.wantedresources import Resources

# Of a job's environment, what is that job's or its tasks' alone.
_OWN = ("FLUX_JOB_", "FLUX_TASK_", "PMIX_", "PMI_", "FLUX_KVS_NAMESPACE", "FLUX_PROXY_REMOTE", "FLUX_TERMINUS_SESSION")
_KEPT = ("PMIX_MCA_",)
# Of its shell options, those that are for its own tasks and files.
_NOT_PASSED = ("output", "input", "stdin", "stop-tasks-in-exec", "pty", "taskmap", "per-resource", "signal", "stage-in")
_NOT_PASSED_PMIX = ("trace", "pset", "stop", "parent")


class Shape:
    """How many tasks of how many cores on how many nodes. Raises `Refused` where that cannot be."""

    def __init__(self, tasks: int, resources: Resources, per_node: int | None = None) -> None:
        cpus = resources.cpus
        if cpus is not None and cpus < tasks:
            raise Refused(
                Status.ERR_BAD_PARAM, f"{tasks} processes on {cpus} core(s): each has one; ask for {tasks} or for none"
            )
        self.tasks = tasks
        self.cores = 1 if cpus is None else ceil(cpus / tasks)  # of a task
        self.nodes = resources.nodes
        if per_node is not None:
            self.nodes = self.nodes or ceil(tasks / per_node)
            if tasks > self.nodes * per_node:
                raise Refused(Status.ERR_BAD_PARAM, f"{tasks} processes do not go on {self.nodes} x {per_node}")
        if self.nodes is not None and tasks < self.nodes:
            raise Refused(Status.ERR_BAD_PARAM, f"{tasks} process(es) on {self.nodes} nodes: ask for fewer nodes")

    def fits(self, cores: Iterable[int]) -> bool:
        """Whether it can ever be placed on nodes with so many cores each."""
        if self.nodes is None:
            return sum(each // self.cores for each in cores) >= self.tasks
        return sum(each // self.cores >= ceil(self.tasks / self.nodes) for each in cores) >= self.nodes

    def __str__(self) -> str:
        each = f"{self.tasks} process(es)" + (f" of {self.cores} cores" if self.cores > 1 else "")
        return each if self.nodes is None else f"{each} on {self.nodes} node(s)"

    def written(self, command: Sequence[str]) -> dict[str, Any]:
        """Return the parts of a jobspec that say so."""
        slot: dict[str, Any] = {"type": "slot", "label": "task", "with": [{"type": "core", "count": self.cores}]}
        if self.nodes is None:
            resources, count = {**slot, "count": self.tasks}, {"per_slot": 1}
        else:
            slot["count"] = ceil(self.tasks / self.nodes)
            resources = {"type": "node", "count": self.nodes, "with": [slot]}
            whole = slot["count"] * self.nodes == self.tasks
            count = {"per_slot": 1} if whole else {"total": self.tasks}
        return {"resources": [resources], "tasks": [{"command": list(command), "slot": "task", "count": count}]}


def of_spawn(
    shape: Shape,
    commands: Sequence[Command],
    policy: Policy,
    resources: Resources,
    wdir: str,
    environment: Mapping[str, str],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the jobspec of a job of that shape.

    `environment` and `options` are those of the job that asks; `options` has what `pmix.parent` is to be.
    """
    base = {name: value for name, value in environment.items() if _passed(name)}
    if len(commands) == 1 and not commands[0].indexed:
        (only,) = commands
        command, wdir, base = [only.command, *only.argv[1:]], only.wdir or wdir, only.environment(base)
    else:
        command = ["/bin/sh", "-c", _script(commands, wdir, base)]
    if policy.by == "node" or policy.rank_by == "node":
        options = {**options, "taskmap": {"scheme": "cyclic"}}
    hosts = [name for name, _ in policy.hosts or ()] or resources.hosts
    system = _system(resources, hosts, wdir, base, options)
    return {**shape.written(command), "attributes": {"system": system}, "version": 1}


def shell_options(options: Mapping[str, Any], pmix: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shell options for a job that is spawned, from those of the job that asks; `pmix` are set besides."""
    passed = {name: value for name, value in options.items() if name not in _NOT_PASSED}
    mine = passed.get("pmix")
    own = mine.items() if isinstance(mine, dict) else ()
    kept = {name: value for name, value in own if name not in _NOT_PASSED_PMIX}
    return {**passed, "pmi": "pmix", "pmix": {**kept, **pmix}}


def _system(
    resources: Resources,
    hosts: Iterable[str] | None,
    wdir: str,
    environment: Mapping[str, str],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    system: dict[str, Any] = {
        "duration": resources.seconds or 0.0,
        "cwd": wdir,
        "environment": dict(environment),
        "shell": {"options": dict(options)},
    }
    if resources.queue is not None:
        system["queue"] = resources.queue
    where: list[dict[str, Any]] = []
    if hosts:
        where.append({"hostlist": [",".join(hosts)]})
    if resources.exclude:
        where.append({"not": [{"hostlist": [",".join(resources.exclude)]}]})
    if where:
        system["constraints"] = where[0] if len(where) == 1 else {"and": where}
    return system


def _passed(name: str) -> bool:
    return name.startswith(_KEPT) or not name.startswith(_OWN)


def _script(commands: Sequence[Command], wdir: str, base: Mapping[str, str]) -> str:
    """Return what starts each application's command, with what is different in its environment."""
    from shlex import quote

    lines, end = [], 0
    for command in commands:
        end += command.size
        env = command.environment(dict(base))
        changes = [word for name in base if name not in env for word in ("-u", name)]
        changes += [f"{name}={value}" for name, value in env.items() if base.get(name) != value]
        argv = " ".join(map(quote, command.argv[1:]))
        name = f'"$(basename {quote(command.command)})-$FLUX_TASK_RANK"' if command.indexed else ""
        start = f"env {' '.join(map(quote, changes))} " if changes else ""
        if name:
            start += f'/bin/bash -c \'exec -a "$0" "$@"\' {name} '
        run = f"cd {quote(command.wdir or wdir)} && exec {start}{quote(command.command)} {argv}"
        lines.append(f'[ "$FLUX_TASK_RANK" -ge {end} ] || {{ {run}; exit; }}')
    return "\n".join(lines)
