"""Real clients of each libpmix version against real servers of each: data, fences, failures."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
from installed import PAIRS, VERSIONS
from live import NSPACE, Live, client_program, library, wait_for

from fluxpmix.pmix import upcalls
from fluxpmix.pmix.types import Info, Proc, Range, find

pytestmark = pytest.mark.pmix
OWN_PROCESS = True

OK = (0, None)
BASE = {
    upcalls.ClientConnected: lambda upcall: OK,
    upcalls.ClientFinalized: lambda upcall: OK,
    upcalls.Fence: lambda upcall: (0, [upcall.data]),
}
MIXED = pytest.mark.parametrize(("server", "client"), PAIRS)
EACH = pytest.mark.parametrize("version", VERSIONS)

EXCHANGE = """
with Client() as client:
    me = client.proc
    client.put(Scope.GLOBAL, f"key{me.rank}", f"value {me.rank}")
    client.put(Scope.GLOBAL, f"blob{me.rank}", bytes(range(256)) * 16)
    client.put(Scope.LOCAL, f"number{me.rank}", Value(DataType.INT64, -(2**40) - me.rank))
    client.commit()
    client.fence(collect=True)
    size = client.get("pmix.job.size", client.job)
    for rank in range(size):
        peer = Proc(me.nspace, rank)
        assert client.get(f"key{rank}", peer) == f"value {rank}"
        assert client.get(f"blob{rank}", peer) == bytes(range(256)) * 16
        assert client.get(f"number{rank}", peer) == -(2**40) - rank
    client.fence([Proc(me.nspace, rank) for rank in range(size)])
    print(me.rank, "of", size)
"""


@MIXED
def test_what_is_put_is_got_by_every_peer(server: str, client: str, tmp_path: Path) -> None:
    with Live(library(server), tmp_path, size=3, host=BASE) as live:
        written = live.run(EXCHANGE, EXCHANGE, EXCHANGE, client=library(client))
        assert written == [f"{rank} of 3\n" for rank in range(3)]
        assert {upcall.proc.rank for upcall in live.seen(upcalls.ClientFinalized)} == {0, 1, 2}


@MIXED
def test_a_missing_key_is_not_found_and_says_so(server: str, client: str, tmp_path: Path) -> None:
    program = """
from fluxpmix.pmix.status import PmixNotFound
with Client() as client:
    for proc in (None, client.proc, client.job):
        try:
            client.get("no.such.key", proc, {"pmix.optional": True})
        except PmixNotFound as error:
            print(error.call, error.status.name)
"""
    with Live(library(server), tmp_path, host=BASE) as live:
        (written,) = live.run(program, client=library(client))
        assert written == "PMIx_Get ERR_NOT_FOUND\n" * 3


@EACH
def test_a_client_without_a_server_is_told_so(version: str, tmp_path: Path) -> None:
    program = """
for name in [name for name in os.environ if name.startswith("PMIX_")]:
    del os.environ[name]
from fluxpmix.pmix.status import PmixError
try:
    Client()
except PmixError as error:
    print(error.call)
else:
    print("singleton")
"""
    with Live(library(version), tmp_path, host=BASE) as live:
        process = live.start(0, program)
        # Both versions let a process without a server be a job of its own.
        assert live.finish(process) in ("PMIx_Init\n", "singleton\n")


@EACH
def test_bad_keys_and_values_are_refused_before_libpmix_sees_them(version: str, tmp_path: Path) -> None:
    program = """
with Client() as client:
    for key, value in (("k" * 600, 1), ("zero\\0", 1), ("big", Value(DataType.UINT8, 256)), ("nul", "a\\0b")):
        try:
            client.put(Scope.GLOBAL, key, value)
        except ValueError as error:
            print("refused")
"""
    with Live(library(version), tmp_path, host=BASE) as live:
        assert live.run(program) == ["refused\n" * 4]


@EACH
def test_abort_reaches_the_host_with_its_status_and_message(version: str, tmp_path: Path) -> None:
    host = {**BASE, upcalls.Abort: lambda upcall: OK}
    program = """
with Client() as client:
    client.abort(7, "enough", [Proc(client.proc.nspace, 0)])
    client.abort(8, "all of it")
"""
    with Live(library(version), tmp_path, host=host) as live:
        live.run(program)
        one, everyone = live.seen(upcalls.Abort)
        me = Proc(NSPACE, 0)
        assert (one.proc, one.status, one.message, one.procs) == (me, 7, "enough", (me,))
        assert (everyone.status, everyone.message, everyone.procs) == (8, "all of it", ())


@EACH
def test_a_call_leaves_other_python_threads_running(version: str, tmp_path: Path) -> None:
    program = """
import threading
with Client() as client:
    if client.proc.rank:
        turns = 0
        waiting = threading.Thread(target=client.fence)
        waiting.start()
        while turns < 1000:
            turns += 1
        open("turned", "w").close()
        waiting.join()
    else:
        while not os.path.exists("turned"):
            threading.Event().wait(0.002)
        client.fence()
"""
    with Live(library(version), tmp_path, size=2, host=BASE) as live:
        live.run(program, program)


EVENTS = {**BASE, upcalls.NotifyEvent: lambda upcall: OK, upcalls.RegisterEvents: lambda upcall: OK}


@EACH
def test_events_reach_handlers_and_a_handlers_exception_stops_no_later_one(version: str, tmp_path: Path) -> None:
    program = """
from queue import SimpleQueue
came = SimpleQueue()
with Client() as client:
    def handler(status, source, infos):
        came.put((status, source, find(infos, "note")))
        if find(infos, "note") == "turn 0":
            raise RuntimeError("the handler's own fault")
    reference = client.register_event_handler([-3400], handler)
    client.fence()
    for turn in range(3):
        if client.proc.rank == 0:
            client.notify_event(-3400, Range.NAMESPACE, {"note": f"turn {turn}"})
        assert came.get(timeout=60) == (-3400, Proc(client.proc.nspace, 0), f"turn {turn}")
        client.fence()
    client.deregister_event_handler(reference)
    print(came.empty())
"""
    with Live(library(version), tmp_path, size=2, host=EVENTS) as live:
        assert live.run(program, program) == ["True\n", "True\n"]
        assert [find(upcall.directives, "note") for upcall in live.seen(upcalls.NotifyEvent)] == [
            f"turn {turn}" for turn in range(3)
        ]


@EACH
def test_an_event_is_served_although_the_host_answers_late(version: str, tmp_path: Path) -> None:
    # libpmix 4.2 frees on return what a late answer would use (pmix_prm_base_notify): its server stopped for good.
    program = """
from queue import SimpleQueue
came = SimpleQueue()
with Client() as client:
    client.register_event_handler([-3400], lambda status, source, infos: came.put(status))
    client.notify_event(-3400, Range.NAMESPACE)
    print(came.get(timeout=60))
"""
    host = {**EVENTS, upcalls.NotifyEvent: lambda upcall: None}
    with Live(library(version), tmp_path, host=host) as live:
        client = live.start(0, program)
        wait_for(lambda: bool(live.seen(upcalls.NotifyEvent)), "the event's upcall")
        live.server.notify_event(-3401, Proc(NSPACE, 0), Range.LOCAL)
        (upcall,) = live.seen(upcalls.NotifyEvent)
        live.server.reply(upcall.id, 0)
        assert live.finish(client) == "-3400\n"
        assert live.server.open_upcalls == 0


@EACH
def test_an_event_does_not_wait_for_the_kernel_to_acknowledge_what_was_sent_before(
    version: str, tmp_path: Path
) -> None:
    program = """
import statistics
from queue import SimpleQueue
from time import monotonic
came = SimpleQueue()
with Client() as client:
    client.register_event_handler([-3400], lambda status, source, infos: came.put(monotonic()))
    taken = []
    for turn in range(9):
        client.fence()
        sent = monotonic()
        if client.proc.rank == 0:
            client.notify_event(-3400, Range.NAMESPACE)
        taken.append(came.get(timeout=60) - sent)
    print(statistics.median(taken))
"""
    with Live(library(version), tmp_path, size=2, host=EVENTS) as live:
        _, other = live.run(program, program)
        assert float(other) < 0.030, "Linux acknowledges after 40 ms: Nagle's algorithm is at work"


@EACH
def test_an_event_for_its_own_process_leaves_the_client_able_to_wait(version: str, tmp_path: Path) -> None:
    # libpmix completes such an event on the caller's thread, which is not therefore libpmix's own.
    program = """
from queue import SimpleQueue
came = SimpleQueue()
with Client() as client:
    client.register_event_handler([-3400], lambda status, source, infos: came.put(status))
    for turn in range(3):
        client.notify_event(-3400, Range.PROC_LOCAL)
        client.fence()
        print(came.get(timeout=60))
"""
    with Live(library(version), tmp_path, host=BASE) as live:
        assert live.run(program) == ["-3400\n" * 3]


@EACH
def test_waiting_on_libpmixs_own_thread_is_refused_with_the_remedy(version: str, tmp_path: Path) -> None:
    program = """
import threading
from queue import SimpleQueue
came = SimpleQueue()
def handler(status, source, infos):
    refused = []
    for call in (client.fence, lambda: client.get("key"), lambda: client.deregister_event_handler(0), client.finalize):
        try:
            call()
        except RuntimeError as error:
            refused.append("another thread" in str(error))
    came.put((threading.current_thread() is threading.main_thread(), refused))
with Client() as client:
    if client.proc.rank == 1:
        client.register_event_handler([-3400], handler)
    client.fence()
    if client.proc.rank == 0:
        client.notify_event(-3400, Range.NAMESPACE)
    else:
        print(came.get(timeout=60))
    client.fence()
"""
    with Live(library(version), tmp_path, size=2, host=EVENTS) as live:
        _, other = live.run(program, program)
        assert other == "(False, [True, True, True, True])\n"


@EACH
def test_a_client_killed_in_a_fence_is_reported_lost_and_the_server_goes_on(version: str, tmp_path: Path) -> None:
    lost: list[Proc] = []
    program = "client = Client(); print('in', flush=True); client.fence()"
    with Live(library(version), tmp_path, size=2, host=BASE) as live:
        live.server.register_event_handler([-61], lambda status, source, infos: lost.append(source))
        victim = live.start(0, program)
        assert victim.stdout is not None
        assert victim.stdout.readline() == "in\n"
        victim.kill()
        wait_for(lambda: lost == [Proc(NSPACE, 0)], "the lost connection's event")
        live.server.deregister_client(Proc(NSPACE, 0))
        other = live.start(1, "with Client() as client: print(client.proc.rank)")
        assert live.finish(other) == "1\n"


@EACH
def test_whoever_connects_under_a_deregistered_clients_descriptor_is_heard(version: str, tmp_path: Path) -> None:
    # libpmix 4.2 closes the connection of whom it deregisters, and leaves it in libevent's books.
    stays = "client = Client(); print('in', flush=True); sys.stdin.read()"
    comes = """
import threading
while not os.path.exists("gone"):
    threading.Event().wait(0.002)
with Client() as client:
    print(client.proc.rank)
"""
    with Live(library(version), tmp_path, size=2, host=BASE) as live:
        # Both are started before, as pipes would take the free descriptor.
        gone, next_ = live.start(0, stays), live.start(1, comes)
        assert gone.stdout is not None
        assert gone.stdout.readline() == "in\n"
        live.server.deregister_client(Proc(NSPACE, 0))
        (tmp_path / "gone").touch()
        assert live.finish(next_) == "1\n"


@EACH
def test_a_c_program_is_a_client_too(version: str, tmp_path: Path) -> None:
    program = client_program(library(version), tmp_path)
    with Live(library(version), tmp_path, size=4, host=BASE) as live:
        written = live.run(*[program] * 4)
        assert written == [f"rank {rank} of 4 sum 6\n" for rank in range(4)]


@EACH
def test_a_thread_that_has_answered_may_wait_for_libpmix(version: str, tmp_path: Path) -> None:
    def answer(upcall: upcalls.Query) -> None:
        live.server.reply(upcall.id, 0, [Info("my.key", 7)])
        live.server.deregister_nspace("nobody")

    program = """
with Client() as client:
    assert client.query([QueryItem(("my.key",))])[0].value == 7
"""
    with Live(library(version), tmp_path, host={**BASE, upcalls.Query: answer}) as live:
        live.run(program)


@EACH
def test_a_large_result_is_lent_to_libpmix_and_given_back(version: str, tmp_path: Path) -> None:
    class Block(bytearray):
        """Can be watched."""

    lent: list[weakref.ref[Block]] = []

    def answer(upcall: upcalls.Fence) -> tuple[int, list[Block]]:
        block = Block(upcall.data)
        lent.append(weakref.ref(block))
        return 0, [block]

    program = """
with Client() as client:
    for turn in range(3):
        blob = os.urandom(1 << 20)  # which no library finds worth compressing
        client.put(Scope.GLOBAL, f"blob{turn}", blob)
        client.commit()
        client.fence(collect=True)
        assert client.get(f"blob{turn}", Proc(client.proc.nspace, 0)) == blob
"""
    with Live(library(version), tmp_path, others=1, host={**BASE, upcalls.Fence: answer}) as live:
        live.run(program)
        assert len(live.seen(upcalls.Fence)[0].data) > 1 << 20
        wait_for(lambda: not any(each() for each in lent), "libpmix gives the blocks back")
    assert len(lent) >= 3
