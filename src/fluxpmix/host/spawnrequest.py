"""What a PMIx_Spawn asks for: its applications and directives, read and checked. Standard 4.2, section 11.2.

`spawn.py` reads each request with `read`, which raises `Refused` with the status to answer. What says how a
process's output is shown or passed on is libpmix's and the carrier's affair, and is let pass here.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.host import wantedresources
from fluxpmix.host.publication import Refused
from fluxpmix.host.supported import RESOURCES, SPAWN
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.record import Record
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_INVALID, RANK_UNDEF, RANK_WILDCARD, AppSpec, Envar, Infos, Proc, find, is_true

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

# What is done to a variable: how, its name, a value, what separates values.
EnvarChange: TypeAlias = tuple[str, str, str, str]
SET, ADD, UNSET, PREPEND, APPEND, FIRST = "set", "add", "unset", "prepend", "append", "first"

_CHANGES: dict[str, str] = {
    a.SET_ENVAR: SET,
    a.ADD_ENVAR: ADD,
    a.UNSET_ENVAR: UNSET,
    a.PREPEND_ENVAR: PREPEND,
    a.APPEND_ENVAR: APPEND,
    a.FIRST_ENVAR: FIRST,
}
_REFUSED: dict[str, str] = {
    a.PRELOAD_BIN: "programs are not copied to nodes: have them where all nodes see them",
    a.PRELOAD_FILES: "files are not copied to nodes: have them where all nodes see them",
    a.ADD_HOSTFILE: "a job's nodes are those that it was given",
    a.SPAWN_PTY: "spawned tasks have no terminal",
}
# Objects inside a node: tasks are not bound to them, so that mapping by one comes to mapping by slots.
_INSIDE = ("slot", "core", "hwthread", "package", "socket", "numa", "l1cache", "l2cache", "l3cache", "fill")

_HARMLESS = frozenset(
    (
        *SPAWN,
        *RESOURCES,
        a.ALLOC_ID,
        *(a.WDIR_USER_SPECIFIED, a.PERSONALITY, a.NON_PMI, a.REQUESTOR_IS_TOOL, a.REQUESTOR_IS_CLIENT, a.REQUESTOR),
        *(a.FWD_STDIN, a.FWD_STDOUT, a.FWD_STDERR, a.FWD_STDDIAG, a.SETUP_APP_ENVARS, a.ENVARS_HARVESTED),
        *(a.USERID, a.GRPID, a.SPAWNED, a.SPAWN_TOOL),
    )
)


class Policy(Record):
    """Where the processes of an application may go, and in which order they are counted.

    `by` is "slot" (fill one node after the other) or "node" (one on each in turn); `per_node` a number that each
    node gets; `rank_by` the same two words, None: as they are mapped. `hosts` are node names, each with a limit
    of processes or None; None: all nodes.
    """

    by: str = "slot"
    per_node: int | None = None
    rank_by: str | None = None
    hosts: tuple[tuple[str, int | None], ...] | None = None


class Shown(Record):
    """How the output of an application is shown: tags ("", "plain", "detailed" or "rank"), times, both streams as one.

    `file` gets the rank appended unless it is a `pattern`, in `directory` there is a file for each stream of each
    process; `only`: what goes there is not shown besides.
    """

    tag: str = ""
    timestamp: bool = False
    merge: bool = False
    file: str = ""
    directory: str = ""
    pattern: bool = False
    only: bool = False


class Command(Record):
    """One application as it is to be started. `env` are "NAME=VALUE"s, `changes` come after them.

    `shown` are the fields of a `Shown`, none where its output is shown as it comes. `input` is the rank in the job that
    is pushed input, PMIX_RANK_WILDCARD: each; the others have none.
    """

    command: str
    argv: tuple[str, ...]
    env: tuple[str, ...]
    changes: tuple[EnvarChange, ...]
    wdir: str | None
    size: int
    indexed: bool = False  # argv[0] gets the rank appended
    shown: tuple[str | bool, ...] = ()
    input: int | None = None

    def reads(self, rank: int) -> bool:
        """Whether one of its processes, by its rank in the job, is to have a standard input."""
        return self.input in (rank, RANK_WILDCARD)

    def arguments(self, rank: int) -> list[str]:
        """Return the arguments of one of its processes, by its rank in the job."""
        first, *rest = self.argv
        return [f"{first}-{rank}" if self.indexed else first, *rest]

    def environment(self, base: dict[str, str]) -> dict[str, str]:
        """Return the variables of its processes, made from those of the parent job."""
        env = dict(base)
        for text in self.env:
            name, _, value = text.partition("=")
            env[name] = value
        for how, name, value, separator in self.changes:
            _change(env, how, name, value, separator)
        return env


class Wanted(Record):
    """A whole request."""

    parent: Proc | None  # None: nobody asks, a job comes by itself
    commands: tuple[Command, ...]
    policies: tuple[Policy, ...]
    oversubscribe: bool | None  # None: as the job that asks
    notify: bool
    separate: bool
    timeout: float | None
    job_timeout: float | None  # from when it runs
    job_events: bool  # PMIX_NOTIFY_JOB_EVENTS
    allocation: str | None  # PMIX_ALLOC_ID: where it goes
    resources: wantedresources.Resources | None  # of its own; None: those that the asker's job has
    streams: tuple[int, ...] = (1, 2)  # that a job with resources of its own shows with the asker's


def read(proc: Proc, directives: Infos, apps: Sequence[AppSpec]) -> Wanted:
    """Return what `proc` asks for. Raises `Refused`."""
    if not apps:
        raise Refused(Status.ERR_BAD_PARAM, "there is no application to start")
    all_infos = (*directives, *(info for app in apps for info in app.directives))
    for info in all_infos:
        if info.key in _REFUSED and info.value not in (False, ""):
            raise Refused(Status.ERR_NOT_SUPPORTED, f"{info.key}: {_REFUSED[info.key]}")
        if info.required and info.key not in _HARMLESS:
            raise Refused(Status.ERR_NOT_SUPPORTED, f"{info.key} is required, but not supported")
    parent = find(directives, a.PARENT_ID)
    size = sum(app.maxprocs for app in apps)
    common = _changes(directives)
    return Wanted(
        parent if isinstance(parent, Proc) else proc,
        tuple(_command(app, common, directives, size) for app in apps),
        tuple(_policy((*app.directives, *directives)) for app in apps),
        _oversubscription(all_infos),
        is_true(directives, a.NOTIFY_COMPLETION),
        is_true(directives, a.SPAWN_CHILD_SEP),
        _seconds(find(directives, a.SPAWN_TIMEOUT) or find(directives, a.TIMEOUT)),
        _seconds(find(directives, a.JOB_TIMEOUT)),
        is_true(directives, a.NOTIFY_JOB_EVENTS),
        _text(all_infos, a.ALLOC_ID),
        wantedresources.read(all_infos),
        tuple(stream for stream, key in ((1, a.FWD_STDOUT), (2, a.FWD_STDERR)) if find(directives, key) is not False),
    )


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise Refused(Status.ERR_BAD_PARAM, f"a time of {value!r}: seconds are expected")
    return float(value) or None


def _command(app: AppSpec, common: tuple[EnvarChange, ...], common_infos: Infos, size: int) -> Command:
    command = app.command or (app.argv[0] if app.argv else "")
    if not command:
        raise Refused(Status.ERR_JOB_NO_EXE_SPECIFIED, "an application has no command")
    if app.maxprocs < 1:
        raise Refused(Status.ERR_BAD_PARAM, f"{command}: {app.maxprocs} processes; at least 1 is wanted")
    if any(not text.partition("=")[0] for text in app.env):
        raise Refused(Status.ERR_BAD_PARAM, f"{command}: a variable without a name")
    wdir = find(app.directives, a.WDIR)
    prefix = find(app.directives, a.PREFIX)
    changes = (*common, *_changes(app.directives))
    if isinstance(prefix, str) and prefix:
        changes = (
            *changes,
            (PREPEND, "PATH", f"{prefix}/bin", ":"),
            (PREPEND, "LD_LIBRARY_PATH", f"{prefix}/lib", ":"),
        )
    return Command(
        command,
        app.argv or (command,),
        app.env,
        changes,
        wdir if isinstance(wdir, str) and wdir else app.cwd,
        app.maxprocs,
        is_true(app.directives, a.INDEX_ARGV),
        _shown((*app.directives, *common_infos)),
        _reader((*app.directives, *common_infos), size),
    )


def _reader(infos: Infos, size: int) -> int | None:
    """Return which rank is to have a standard input.

    PMIX_STDIN_TGT is a process, a rank or a plain number: libpmix passes on what it is given. A process's
    namespace says nothing: the job has none yet.
    """
    target = find(infos, a.STDIN_TGT)
    rank = target.rank if isinstance(target, Proc) else target
    if rank in (None, RANK_INVALID, RANK_UNDEF):  # Open MPI's "none" is the latter
        return None
    if type(rank) is not int or not (0 <= rank < size or rank == RANK_WILDCARD):
        raise Refused(Status.ERR_BAD_PARAM, f"PMIX_STDIN_TGT is {target}: a rank of the {size} is expected, or all")
    return rank


def _shown(infos: Infos) -> tuple[str | bool, ...]:
    """Return how output is to be shown; what an application says itself comes before what is said for all."""
    tags = {a.IOF_RANK_OUTPUT: "rank", a.IOF_TAG_DETAILED_OUTPUT: "detailed"}
    plain = (a.IOF_TAG_OUTPUT, a.IOF_TAG_FULLNAME_OUTPUT, a.TAG_OUTPUT)
    tags |= dict.fromkeys(plain, "plain")
    found = Shown(
        next((tag for key, tag in tags.items() if is_true(infos, key)), ""),
        any(is_true(infos, key) for key in (a.IOF_TIMESTAMP_OUTPUT, a.TIMESTAMP_OUTPUT)),
        any(is_true(infos, key) for key in (a.IOF_MERGE_STDERR_STDOUT, a.MERGE_STDERR_STDOUT)),
        _text(infos, a.IOF_OUTPUT_TO_FILE) or _text(infos, a.OUTPUT_TO_FILE) or "",
        _text(infos, a.IOF_OUTPUT_TO_DIRECTORY) or _text(infos, a.OUTPUT_TO_DIRECTORY) or "",
        is_true(infos, a.IOF_FILE_PATTERN),
        any(is_true(infos, key) for key in (a.IOF_FILE_ONLY, a.OUTPUT_NOCOPY)),
    )
    return () if found == Shown() else found._values()


def _changes(infos: Infos) -> tuple[EnvarChange, ...]:
    found: list[EnvarChange] = []
    for info in infos:
        how = _CHANGES.get(info.key)
        if how is None:
            continue
        if how == UNSET and isinstance(info.value, str):
            found.append((UNSET, info.value, "", ""))
        elif isinstance(info.value, Envar) and info.value.name:
            separator = info.value.separator.strip("\0") or ":"
            found.append((how, info.value.name, info.value.value or "", separator))
        else:
            raise Refused(Status.ERR_BAD_PARAM, f"{info.key} names no variable")
    return tuple(found)


def _change(env: dict[str, str], how: str, name: str, value: str, separator: str) -> None:
    old = env.get(name)
    if how == UNSET:
        env.pop(name, None)
    elif how == SET or old is None:
        env[name] = value
    elif how == PREPEND:
        env[name] = value + separator + old
    elif how == APPEND:
        env[name] = old + separator + value
    elif how == FIRST:
        env[name] = separator.join((value, *(part for part in old.split(separator) if part != value)))


# -- where -----------------------------------------------------------------------------------------


def _policy(infos: Infos) -> Policy:
    """Return where an application goes; what it says itself comes before what is said for all."""
    by, per_node = "slot", None
    mapping = _text(infos, a.MAPBY)
    if mapping is not None:
        what, *modifiers = mapping.lower().split(":")
        if what == "ppr":
            per_node, modifiers = _per_resource(":".join(modifiers[:2])), modifiers[2:]
        elif what == "node":
            by = "node"
        elif what not in _INSIDE and what:
            raise Refused(Status.ERR_NOT_SUPPORTED, f"mapping by {what!r}: slot, node and ppr:N:node are known")
        if any(modifier.startswith("pe=") for modifier in modifiers):
            raise Refused(Status.ERR_NOT_SUPPORTED, f"mapping {mapping!r}: spawned tasks are not bound to cores")
    text = _text(infos, a.PPR)
    if text is not None:
        if mapping is not None and per_node != _per_resource(text):
            raise Refused(Status.ERR_BAD_PARAM, f"mapping by {mapping!r} and {text!r} on each contradict each other")
        per_node = _per_resource(text)
    ranking = _text(infos, a.RANKBY)
    rank_by = None
    if ranking is not None:
        what = ranking.lower().partition(":")[0]
        if what != "node" and what not in _INSIDE:
            raise Refused(Status.ERR_NOT_SUPPORTED, f"ranking by {what!r}: slot and node are known")
        rank_by = "node" if what == "node" else "slot"
    return Policy(by, per_node, rank_by, _hosts(infos))


def _text(infos: Infos, key: str) -> str | None:
    value = find(infos, key)
    return value if isinstance(value, str) and value else None


def _per_resource(text: str) -> int:
    count, _, what = text.partition(":")
    if not (count.isascii() and count.isdigit() and int(count) > 0):
        raise Refused(Status.ERR_BAD_PARAM, f"{text!r}: N:node is expected, N processes on each node")
    if what not in ("node", ""):
        raise Refused(Status.ERR_NOT_SUPPORTED, f"{text!r}: processes are counted by node, as in {count}:node")
    return int(count)


def _hosts(infos: Infos) -> tuple[tuple[str, int | None], ...] | None:
    """Return the nodes that are named, as PMIX_HOST or, read by the carrier, PMIX_HOSTFILE."""
    found: dict[str, int | None] = {}
    for info in infos:
        if info.key not in (a.HOST, a.ADD_HOST) or not isinstance(info.value, str):
            continue
        for part in filter(None, info.value.split(",")):
            name, _, limit = part.partition(":")
            if limit and not (limit.isascii() and limit.isdigit()) and limit != "*":
                raise Refused(Status.ERR_BAD_PARAM, f"host {part!r}: NAME or NAME:SLOTS is expected")
            slots = int(limit) if limit.isdigit() else None
            before = found.get(name, 0)
            # A name that comes twice has a slot each time.
            found[name] = None if before is None or (slots is None and name not in found) else before + (slots or 1)
    return tuple(found.items()) or None


def _oversubscription(infos: Infos) -> bool | None:
    wants = False
    for info in infos:
        if info.key == a.MAPBY and isinstance(info.value, str):
            wants = wants or "oversubscribe" in info.value.lower().split(":")
    forbids = is_true(infos, a.NO_OVERSUBSCRIBE) or any(
        info.key == a.MAPBY and isinstance(info.value, str) and "nooversubscribe" in info.value.lower().split(":")
        for info in infos
    )
    if wants and forbids:
        raise Refused(Status.ERR_BAD_PARAM, "the mapping both allows and forbids that tasks share cores")
    return True if wants else False if forbids else None
