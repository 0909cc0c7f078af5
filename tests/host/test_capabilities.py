"""What must hold of the table of capabilities, and of those that a host makes when they are first needed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import NSPACE, Network

from fluxpmix.host.capabilities import RECEIVERS, SERVERS, TABLE
from fluxpmix.host.capability import Capability
from fluxpmix.host.effects import Deliver, Effect, Feed, Listen, Measure, RequestModex, Signal
from fluxpmix.host.frames import Tag
from fluxpmix.host.host import Host
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix import upcalls
from fluxpmix.pmix.types import RANK_WILDCARD, GroupOperation, Info, Infos, IofChannel, Persistence, Proc, QueryItem
from fluxpmix.pmix.upcalls import Upcall

# What collectives take, whose they are; a fabric is served by none, connections come to `host.py` itself.
OF_COLLECTIVES = {Tag.UP, Tag.DOWN, Tag.FAIL, Tag.STEP, Tag.LARGE, Tag.AMONG, Tag.PROBE, Tag.DIED}
SERVED_BY_NONE = {upcalls.Upcall, upcalls.Fabric, upcalls.ClientConnected, upcalls.ClientFinalized}
ALL = (Proc(NSPACE, RANK_WILDCARD),)
BOTH = IofChannel.STDOUT | IofChannel.STDERR


def test_every_upcall_and_every_frame_is_one_capabilitys() -> None:
    known = {one for one in vars(upcalls).values() if isinstance(one, type) and issubclass(one, Upcall)}
    assert set(SERVERS) == known - SERVED_BY_NONE
    assert set(RECEIVERS) == set(Tag) - OF_COLLECTIVES
    assert len(SERVERS) == sum(len(line.serves) for line in TABLE)
    assert len(RECEIVERS) == sum(len(line.takes) for line in TABLE)


def test_each_is_made_and_does_what_the_table_says() -> None:
    host = Network([1]).hosts[0]
    for line in TABLE:
        made = host.get(line.make)
        assert isinstance(made, Capability) and host.get(line.make) is made
        for name, wanted in (("upcall", line.serves), ("receive", line.takes), ("on_event", line.hears)):
            assert (getattr(type(made), name) is not getattr(Capability, name)) == bool(wanted), (made, name)
    assert host.serves == {*SERVERS, upcalls.ClientConnected, upcalls.ClientFinalized}


def test_a_job_of_fences_loads_no_other_capability() -> None:
    program = """
import sys
from simulator import Network
network = Network([2, 2])
for rank in range(4):
    network.connect(rank)
for shell in (0, 1):
    network.fence(shell, data=b"x")
network.run()
for rank in range(4):
    network.finalize(rank)
    network.exit(rank, 0)
network.pass_time(1)
assert len(network.replies) == 10
for name in ("abort", "allocation", "connect", "control", "credential", "datastore", "debug", "dmodex", "group", "iof",
             "log", "monitor", "pset", "query", "spawn", "tool"):
    if f"fluxpmix.host.{name}" in sys.modules:
        print(name)
"""
    path = f"import sys; sys.path[:0] = {sys.path!r}\n"
    done = subprocess.run([sys.executable, "-c", path + program], capture_output=True, text=True, check=True)
    assert done.stdout == ""


class Watched(Network):
    """Hosts whose every outcome is written down; `early` ones have all capabilities from the start."""

    def __init__(self, counts: list[int], early: bool) -> None:
        super().__init__(counts)
        self.outcomes: list[Any] = []
        for host in self.hosts if early else ():
            for line in TABLE:
                host.get(line.make)

    def perform(self, shell: int, effects: list[Effect]) -> None:
        super().perform(shell, effects)
        for one in effects:
            if isinstance(one, Deliver | Listen | Signal):
                self.outcomes.append((shell, repr(one)))
            elif isinstance(one, Feed):
                self.perform(shell, self.hosts[shell].outcomes.fed(one.token, 0, self.now))
            elif isinstance(one, RequestModex):
                self.perform(shell, self.hosts[shell].outcomes.modex_ready(one.token, 0, b"", self.now))
            elif isinstance(one, Measure):
                self.perform(shell, self.hosts[shell].outcomes.measured(one.token, 1, one.tasks, self.now))

    def live(self, step: str, rank: int) -> None:
        shell = self.job.taskmap.node_of(rank)
        host: Host = self.hosts[shell]
        if shell in self.lost:
            return
        if step == "start":
            self.perform(shell, host.task_started(rank, 1000 + rank, self.now))
        elif step == "silent":
            self.perform(shell, host.task_output(rank, int(IofChannel.STDOUT), b"", self.now))
        elif step == "lose":
            if shell:
                self.lose(shell)
        elif step == "exit":
            self.exit(rank, 0)
        else:
            getattr(self, step)(rank)
        self.run()

    def request(self, what: str, rank: int) -> None:
        shell = self.job.taskmap.node_of(rank)
        if shell in self.lost:
            return
        me, other = Proc(NSPACE, rank), Proc(NSPACE, (rank + 1) % self.job.size)

        def make(id_: int) -> Upcall:
            infos: Infos = (Info(a.TIMEOUT, 2),)
            if what == "query":
                return upcalls.Query(id_, me, (QueryItem((a.QUERY_PROC_TABLE, a.QUERY_MEMORY_USAGE), infos),))
            if what == "get":
                return upcalls.DirectModex(id_, other, infos)
            if what == "publish":
                infos += (Info(f"key {rank}", 1), Info(a.PERSISTENCE, Persistence.PROCESS))
                return upcalls.Publish(id_, me, infos)
            if what == "lookup":
                return upcalls.Lookup(id_, me, (f"key {other.rank}",), infos)
            if what == "kill":
                return upcalls.JobControl(id_, me, (other,), (Info(a.JOB_CTRL_KILL, True), *infos))
            if what == "set":
                return upcalls.JobControl(id_, me, (me, other), (Info(a.JOB_CTRL_DEFINE_PSET, f"set {rank}"), *infos))
            if what == "group":
                return upcalls.Group(id_, GroupOperation.CONSTRUCT, f"group {rank}", (me,), infos)
            return upcalls.IofPull(id_, ALL, (), BOTH)

        self.upcall(shell, make)
        self.run()

    def after(self, steps: list[tuple[str, int]], requests: list[tuple[str, int]]) -> Any:
        for step, rank in steps:
            self.live(step, rank)
        for what, rank in requests:
            self.request(what, rank)
        self.pass_time(5)
        return self.replies, self.outcomes, self.idle


RANKS = st.integers(0, 4)
LIFE = ("start", "connect", "finalize", "silent", "exit")
REQUESTS = ("query", "get", "publish", "lookup", "kill", "set", "group", "pull")


@settings(deadline=None, max_examples=150)
@given(
    lives=st.lists(st.integers(0, len(LIFE)), min_size=5, max_size=5),
    order=st.randoms(use_true_random=False),
    lost=st.one_of(st.none(), RANKS),
    requests=st.lists(st.tuples(st.sampled_from(REQUESTS), RANKS), max_size=8),
)
def test_one_that_comes_late_answers_as_if_it_had_been_there(
    lives: list[int], order: Any, lost: int | None, requests: list[tuple[str, int]]
) -> None:
    steps: list[tuple[str, int]] = []
    left = {rank: list(LIFE[:count]) for rank, count in enumerate(lives)}
    while any(left.values()):
        rank = order.choice([rank for rank, ahead in left.items() if ahead])
        steps.append((left[rank].pop(0), rank))
    if lost is not None:
        steps.insert(order.randrange(len(steps) + 1), ("lose", lost))
    assert Watched([2, 2, 1], early=False).after(steps, requests) == Watched([2, 2, 1], early=True).after(
        steps, requests
    )
