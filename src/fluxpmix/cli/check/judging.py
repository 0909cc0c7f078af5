"""Judging what the ranks were told: type, agreement among the ranks, and what the other answers imply.

Sizes must add up, leaders be the lowest rank, peers agree with local ranks, cpusets with what the kernel
says. Nothing is known from outside: the truth is worked out from the answers about each process, which every
rank gives about itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fluxpmix.cli.check.records import Answer, Report, Row, Verdict
from fluxpmix.job.registration import MAPS, Line, Need, Realm, lines
from fluxpmix.pmix import attributes as a

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What libpmix itself takes and never gives to a client, by realm and attribute.
HIDDEN = {
    ("process", "PMIX_RANK"): "libpmix takes it for whose the array is",
    ("local process", "PMIX_RANK"): "libpmix takes it for whose the array is",
    ("node", "PMIX_NODEID"): "libpmix takes it for the node that is asked about",
    ("node", "PMIX_HOSTNAME"): "libpmix takes it for the node that is asked about",
    ("application", "PMIX_APPNUM"): "libpmix takes it for the application that is asked about",
    ("session", "PMIX_SESSION_ID"): "from 5.0 on libpmix loses it with shared memory, and to clients of 4.2",
    ("job", "PMIX_SESSION_ID"): "from 5.0 on libpmix loses it with shared memory, and to clients of 4.2",
}
# What libpmix 4.2 tells its clients of their own node's processes only.
ELSEWHERE_HIDDEN = {("process", "PMIX_NODEID")}
# What each server says of itself, so that ranks on different nodes are told different things.
BY_SERVER = {("job", "PMIX_SERVER_RANK"), ("job", "PMIX_SERVER_NSPACE")}
# What a report must not show: whoever has it may speak for the job.
SECRET = {"PMIX_CREDENTIAL"}
_NOWHERE = 0xFFFFFFFF  # what a session id reads that libpmix lost
_SHAPES = {"string": str, "bool": bool} | dict.fromkeys(
    ("proc_rank", "uint16", "uint32", "uint64", "int", "int32", "int64", "size"), int
)
_MOST_SHOWN = 60  # characters of a value in a row


class Truth:
    """What the answers about processes say of the job."""

    def __init__(self, reports: Sequence[Report]) -> None:
        own = {report.rank: {x.name: x.value for x in report.answers if _own(x, report.rank)} for report in reports}
        size = _first(reports, "job", "PMIX_JOB_SIZE")
        self.size = max(size if isinstance(size, int) else 0, len(reports))
        self.ranks = sorted(own)
        self.facts = {report.rank: report.facts for report in reports}
        self.told = {
            report.rank: {x.name: x.value for x in report.answers if x.realm == "own node" and not x.error}
            for report in reports
        }
        self.node_of = {rank: values.get("PMIX_NODEID") for rank, values in own.items()}
        self.app_of = {rank: values.get("PMIX_APPNUM") for rank, values in own.items()}
        self.host_of = {rank: values.get("PMIX_HOSTNAME") for rank, values in own.items()}
        self.local_rank_of = {rank: values.get("PMIX_LOCAL_RANK") for rank, values in own.items()}
        self.complete = len(own) == self.size

    @property
    def nodes(self) -> int:
        """Return how many nodes the ranks say they are on."""
        return len({(self.node_of[rank], self.host_of[rank]) for rank in self.ranks})

    def on_node(self, rank: int) -> list[int]:
        """Return the ranks that share a node with `rank`."""
        return [each for each in self.ranks if self.node_of[each] == self.node_of[rank]]

    def at_host(self, host: str) -> list[int]:
        """Return the ranks on a node called `host`."""
        return [rank for rank in self.ranks if self.host_of[rank] == host]

    def in_app(self, app: str) -> list[int]:
        """Return the ranks of an application."""
        return [rank for rank in self.ranks if str(self.app_of[rank]) == app]


# Given the truth, whose it is and who asks: the value that must be, or None where nothing implies one.
Implied = Callable[[Truth, str, int], "Any"]


def _count(ranks: Sequence[int]) -> int | None:
    return len(ranks) or None


def _place(ranks: Sequence[int], rank: int) -> int | None:
    return ranks.index(rank) if rank in ranks else None


IMPLIED: dict[tuple[str, str], Implied] = {
    ("job", "PMIX_JOB_SIZE"): lambda t, whose, me: t.size,
    ("job", "PMIX_NSPACE"): lambda t, whose, me: whose,
    ("job", "PMIX_NUM_NODES"): lambda t, whose, me: len(set(t.node_of.values())),
    ("job", "PMIX_JOB_NUM_APPS"): lambda t, whose, me: len(set(t.app_of.values())),
    ("application", "PMIX_APPNUM"): lambda t, whose, me: int(whose),
    ("application", "PMIX_APP_SIZE"): lambda t, whose, me: _count(t.in_app(whose)),
    ("application", "PMIX_APPLDR"): lambda t, whose, me: min(t.in_app(whose), default=None),
    ("node", "PMIX_HOSTNAME"): lambda t, whose, me: whose,
    ("node", "PMIX_LOCAL_SIZE"): lambda t, whose, me: _count(t.at_host(whose)),
    ("node", "PMIX_LOCALLDR"): lambda t, whose, me: min(t.at_host(whose), default=None),
    ("process", "PMIX_RANK"): lambda t, whose, me: int(whose),
    ("process", "PMIX_APP_RANK"): lambda t, whose, me: _place(t.in_app(str(t.app_of.get(int(whose)))), int(whose)),
}


def _at_least(what: Callable[[Truth, str], int | None], text: str) -> Callable[[Truth, str, int, Any], str]:
    def complaint(truth: Truth, whose: str, me: int, value: Any) -> str:
        least = what(truth, whose)
        return f"at least {least} ({text})" if least is not None and value < least else ""

    return complaint


def _peers(truth: Truth, whose: str, me: int, value: Any) -> str:
    """Which rank is the first of a node is the launcher's choice; who is there is not."""
    ranks = truth.at_host(whose)
    given = sorted(str(value).split(","), key=lambda rank: rank.zfill(10))
    return "" if not ranks or given == [str(rank) for rank in ranks] else ",".join(map(str, ranks))


def _local_rank(truth: Truth, whose: str, me: int, value: Any) -> str:
    mates = [rank for rank in truth.on_node(int(whose)) if rank != int(whose)]
    if value > len(mates):
        return f"at most {len(mates)}, as {len(mates) + 1} are there"
    return "" if all(truth.local_rank_of[mate] != value for mate in mates) else "one that no other rank there has"


def _directory(private: bool = True, below: str = "") -> Callable[[Truth, str, int, Any], str]:
    """Make a judge of directories, as the rank that asks sees them; `below` names the attribute that holds it."""

    def complaint(truth: Truth, whose: str, me: int, value: Any) -> str:
        path = str(value)
        if not path.startswith("/"):
            return "the absolute path of a directory"
        seen = truth.facts.get(me, {}).get("directories", {})
        if path not in seen:
            return ""
        if seen[path] is None:
            return "a directory that exists"
        mode, uid = seen[path]
        if private and (mode & 0o077 or uid != truth.facts[me].get("uid")):
            return f"a directory of the job's owner alone, not mode {mode:04o} of user {uid}"
        parent = truth.told.get(me, {}).get(below)
        if parent and not path.startswith(f"{str(parent).rstrip('/')}/"):
            return f"a directory below {below}, {parent}"
        return ""

    return complaint


def _cpuset(truth: Truth, whose: str, me: int, value: Any) -> str:
    """Hold the cpus in `hwloc:0-3` against the affinity that the kernel reports for the rank."""
    from fluxpmix.job import idset

    kernel = truth.facts.get(int(whose), {}).get("cpus")
    text = str(value).rpartition(":")[2]
    try:
        same = kernel is None or set(idset.parse(text)) == set(idset.parse(kernel))
    except ValueError:
        return f"a list of CPUs, as hwloc:{kernel}"
    return "" if same else f"hwloc:{kernel}, as the kernel says"


def _locality(truth: Truth, whose: str, me: int, value: Any) -> str:
    """Hold the hardware threads in `SK0:L30:CR0-1:HT0-3` against the affinity that the kernel reports.

    They are numbered by hwloc, not by the kernel: only how many they are must agree.
    """
    from fluxpmix.job import idset

    kernel = truth.facts.get(int(whose), {}).get("cpus")
    threads = [part[2:] for part in str(value).split(":") if part.startswith("HT")]
    if kernel is None or not threads:
        return ""
    try:
        there, bound = len(idset.parse(threads[0])), len(idset.parse(kernel))
    except ValueError:
        return "where it is bound, as SK0:L30:CR0:HT0-1"
    return "" if there == bound else f"{bound} hardware threads (HT), as many as the kernel says"


# Given also the value: what it should be instead, empty where it may be so.
PLAUSIBLE: dict[tuple[str, str], Callable[[Truth, str, int, Any], str]] = {
    ("session", "PMIX_UNIV_SIZE"): _at_least(lambda t, whose: t.size, "the job's size"),
    ("job", "PMIX_MAX_PROCS"): _at_least(lambda t, whose: t.size, "the job's size"),
    ("node", "PMIX_NODE_SIZE"): _at_least(lambda t, whose: _count(t.at_host(whose)), "the job's processes there"),
    ("node", "PMIX_LOCAL_PEERS"): _peers,
    ("process", "PMIX_LOCAL_RANK"): _local_rank,
    ("own node", "PMIX_TMPDIR"): _directory(),
    ("own node", "PMIX_NSDIR"): _directory(below="PMIX_TMPDIR"),
    ("local process", "PMIX_PROCDIR"): _directory(below="PMIX_NSDIR"),
    ("application", "PMIX_WDIR"): _directory(private=False),
    ("local process", "PMIX_CPUSET"): _cpuset,
    ("local process", "PMIX_LOCALITY_STRING"): _locality,
}

# Conditional attributes, and when they are needed.
NEEDED: dict[tuple[str, str], Callable[[Truth], bool]] = {
    ("job", "PMIX_JOB_NUM_APPS"): lambda t: len(set(t.app_of.values())) > 1,
    ("application", "PMIX_MAX_PROCS"): lambda t: len(set(t.app_of.values())) > 1,
    ("local process", "PMIX_LOCALITY_STRING"): lambda t: any(facts.get("bound") for facts in t.facts.values()),
    ("local process", "PMIX_PACKAGE_RANK"): lambda t: any(facts.get("bound") for facts in t.facts.values()),
}


def judge(reports: Sequence[Report]) -> Iterator[Row]:
    """Yield a row for each attribute of the table, in its order."""
    truth = Truth(reports)
    by_name: dict[tuple[str, str], list[tuple[int, Answer]]] = {}
    for report in reports:
        for answer in report.answers:
            by_name.setdefault((answer.realm, answer.name), []).append((report.rank, answer))
    for realm in Realm:
        for line in lines(realm):
            yield _judge_line(realm.value, line, by_name.get((realm.value, line.attribute.name), []), truth)
        if realm is Realm.JOB:
            for line in MAPS:
                yield Row("job", line.attribute.name, line.need.value, Verdict.HIDDEN, note="libpmix takes it apart")


def _judge_line(realm: str, line: Line, answers: list[tuple[int, Answer]], truth: Truth) -> Row:
    name = line.attribute.name
    key = (realm, name)
    need = line.need.value
    if line.need is Need.CONDITIONAL and key in NEEDED and NEEDED[key](truth):
        need = Need.REQUIRED.value
    given = [(me, each) for me, each in answers if not each.error and not _lost(key, each.value)]
    if not given:
        if key in HIDDEN:
            return Row(realm, name, need, Verdict.HIDDEN, note=HIDDEN[key])
        absent = need == Need.CONDITIONAL.value
        error = next((each.error for _, each in answers if each.error), "nobody could ask")
        return Row(realm, name, need, Verdict.ABSENT if absent else Verdict.MISSING, found=error)
    wrong = _wrong(key, line, given, truth)
    if wrong is not None:
        return Row(realm, name, need, Verdict.WRONG, *wrong)
    if len(given) < len(answers) and key not in HIDDEN and key not in ELSEWHERE_HIDDEN:
        missed = sorted({each.whose for _, each in answers if each.error})
        return Row(realm, name, need, Verdict.WRONG, "an answer about each", f"none about {_short(','.join(missed))}")
    shown = "given" if name in SECRET else _short(given[0][1].value)
    return Row(realm, name, need, Verdict.RIGHT, found=shown)


def _wrong(
    key: tuple[str, str], line: Line, given: list[tuple[int, Answer]], truth: Truth
) -> tuple[str, str, str] | None:
    """Return (expected, found, note) of the first thing that is wrong."""
    said: dict[str, tuple[int, Any]] = {}
    for me, answer in given:
        subject = f"{answer.whose}, rank {me} asks"
        if answer.type != line.attribute.type.name.lower() and not _alike(
            answer.type, line.attribute.type.name.lower()
        ):
            return line.attribute.type.name.lower(), answer.type, f"the type, about {subject}"
        if not isinstance(answer.value, _SHAPES.get(answer.type, object)):
            return line.attribute.type.name.lower(), _short(answer.value), f"about {subject}"
        other = said.setdefault(answer.whose, (me, answer.value))
        if other[1] != answer.value and key not in BY_SERVER:
            both = ("one", "another") if key[1] in SECRET else (_short(other[1]), _short(answer.value))
            return *both, f"ranks {other[0]} and {me} are told different things"
        if truth.complete and key in IMPLIED:
            implied = IMPLIED[key](truth, answer.whose, me)
            if implied is not None and implied != answer.value:
                return _short(implied), _short(answer.value), f"about {subject}"
        if truth.complete and key in PLAUSIBLE:
            complaint = PLAUSIBLE[key](truth, answer.whose, me, answer.value)
            if complaint:
                return complaint, _short(answer.value), f"about {subject}"
    return None


def _alike(one: str, other: str) -> bool:
    """Whether libpmix may have given one type for the other: a string that it compressed is a string."""
    return {one, other} <= {"string", "compressed_string"} or {one, other} <= {"regex", "string", "byte_object"}


def _lost(key: tuple[str, str], value: Any) -> bool:
    return value is None or (key[1] == a.SESSION_ID.name and value == _NOWHERE)


def _own(answer: Answer, rank: int) -> bool:
    usable = isinstance(answer.value, (int, str)) and not answer.error
    return answer.realm == "process" and answer.whose == str(rank) and usable


def _first(reports: Sequence[Report], realm: str, name: str) -> Any:
    for report in reports:
        for answer in report.answers:
            if (answer.realm, answer.name) == (realm, name) and not answer.error:
                return answer.value
    return None


def _short(value: Any) -> str:
    text = str(value).encode("utf-8", "replace").decode()
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"
