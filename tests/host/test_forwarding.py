"""What must hold of forwarded output and input over shells, and of the tools that ask for them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import NSPACE, Network, procs

from fluxpmix.host import frames, wire
from fluxpmix.host.effects import Deliver, Effect, Feed, Listen
from fluxpmix.host.frames import Message, Tag
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, IofChannel, Proc
from fluxpmix.pmix.upcalls import ClientFinalized, IofPull, PushStdin, ToolConnected

OUT, ERR = IofChannel.STDOUT, IofChannel.STDERR
ALL = IofChannel.STDOUT | IofChannel.STDERR | IofChannel.STDDIAG
STOP = (Info(a.IOF_STOP, True),)


class Forwarded(Network):
    """Hosts whose tasks print and read."""

    def __init__(self, counts: Sequence[int], closed: Sequence[int] = ()) -> None:
        super().__init__(counts)
        self.delivered: list[tuple[int, int, int, bytes]] = []  # shell, rank, channel, data
        self.listening: dict[int, bool] = {}
        self.fed: dict[int, list[bytes]] = {}
        self.closed = set(closed)  # ranks whose standard input is closed

    def perform(self, shell: int, effects: list[Effect]) -> None:
        super().perform(shell, effects)
        for effect in effects:
            if isinstance(effect, Deliver):
                self.delivered.append((shell, effect.source.rank, effect.channel, bytes(effect.data)))
            elif isinstance(effect, Listen):
                self.listening[shell] = effect.on
            elif isinstance(effect, Feed):
                taken = [rank for rank in effect.numbers if rank not in self.closed]
                for rank in taken:
                    self.fed.setdefault(rank, []).append(effect.data)
                status = Status.SUCCESS if taken else Status.ERR_NOT_AVAILABLE
                self.perform(shell, self.hosts[shell].outcomes.fed(effect.token, int(status), self.now))

    def tool(self, shell: int, *infos: Info) -> int:
        return self.upcall(shell, lambda id_: ToolConnected(id_, infos))

    def leave(self, shell: int, tool: Proc) -> None:
        self.upcall(shell, lambda id_: ClientFinalized(id_, tool))

    def pull(self, shell: int, who: tuple[Proc, ...], channels: IofChannel = ALL, *infos: Info) -> None:
        self.upcall(shell, lambda id_: IofPull(id_, who, infos, channels))
        self.run()

    def stop(self, shell: int) -> None:
        self.upcall(shell, lambda id_: IofPull(id_, (), STOP, IofChannel.NONE))
        self.run()

    def push(self, shell: int, who: tuple[Proc, ...], data: bytes) -> int:
        return self.upcall(shell, lambda id_: PushStdin(id_, Proc("tool", 0), who, (), data))

    def print(self, rank: int, data: bytes, channel: IofChannel = OUT) -> None:
        shell = self.job.taskmap.node_of(rank)
        self.perform(shell, self.hosts[shell].task_output(rank, int(channel), data, self.now))


def test_a_tool_is_named_and_two_are_named_differently() -> None:
    network = Forwarded([1, 1])
    first, second, other = network.tool(0), network.tool(0), network.tool(1)
    names = [network.replies[each][1] for each in (first, second, other)]
    assert len(set(names)) == 3
    assert all(name.nspace.startswith(f"{NSPACE}.tool.") and name.rank == 0 for name in names)


def test_a_tool_keeps_its_own_name_but_not_one_that_is_taken() -> None:
    network = Forwarded([1])
    mine = (Info(a.NSPACE, "mine"), Info(a.RANK, 3))
    first, second = network.tool(0, *mine), network.tool(0, *mine)
    assert network.replies[first] == (0, Proc("mine", 3))
    assert network.replies[second][0] == Status.ERR_EXISTS
    network.leave(0, Proc("mine", 3))
    assert network.replies[network.tool(0, *mine)] == (0, Proc("mine", 3))


def test_output_of_all_shells_comes_to_the_one_that_pulls_it_in_order() -> None:
    network = Forwarded([1, 0, 2])
    network.pull(0, procs())
    for rank in range(3):
        for line in (b"one\n", b"two\n", b""):
            network.print(rank, line)
    network.run()
    for rank in range(3):
        assert [each for each in network.delivered if each[1] == rank] == [
            (0, rank, OUT, line) for line in (b"one\n", b"two\n", b"")
        ]
    assert network.listening == {0: True, 2: True}


def test_only_what_is_asked_for_travels() -> None:
    network = Forwarded([1, 2])
    network.pull(0, procs(2), ERR)
    sent = network.sent
    network.print(0, b"x")
    network.print(1, b"x", ERR)
    network.print(2, b"x")
    assert network.sent == sent
    network.print(2, b"wanted", ERR)
    network.run()
    assert network.delivered == [(0, 2, ERR, b"wanted")]


def test_nobody_listens_before_a_pull_and_after_the_last_is_stopped() -> None:
    network = Forwarded([1, 1])
    assert not network.listening
    network.pull(0, procs())
    network.pull(0, procs(1))
    network.stop(0)
    assert network.listening == {0: True, 1: True}
    network.stop(0)
    assert network.listening == {0: False, 1: False}


def test_the_pulls_of_tools_end_with_the_last_tool() -> None:
    network = Forwarded([1, 1])
    names = [network.replies[network.tool(0)][1] for _ in range(2)]
    network.pull(0, procs())
    network.leave(0, names[0])
    network.run()
    assert network.listening[1]
    network.perform(0, network.hosts[0].connection_lost(names[1], network.now))
    network.run()
    assert network.listening == {0: False, 1: False}


def test_whoever_pulls_late_hears_of_streams_that_have_ended() -> None:
    network = Forwarded([1, 1])
    network.print(1, b"")
    network.print(1, b"", ERR)
    network.pull(0, procs(1), OUT)
    assert network.delivered == [(0, 1, OUT, b"")]


def test_the_output_of_a_process_that_there_is_not_is_not_pulled() -> None:
    network = Forwarded([1, 1])
    network.pull(0, procs(7))
    network.pull(0, (Proc("another", 0),))
    assert not network.listening and len(network.logs) == 2


def test_input_goes_to_those_that_are_meant_and_the_answer_comes_when_all_have_it() -> None:
    network = Forwarded([1, 2])
    id_ = network.push(0, procs(0, 2), b"data")
    assert id_ not in network.replies
    network.run()
    assert network.replies[id_] == (0, None)
    assert network.fed == {0: [b"data"], 2: [b"data"]}
    network.push(1, procs(), b"")
    network.run()
    assert network.fed == {0: [b"data", b""], 1: [b""], 2: [b"data", b""]}
    assert network.idle


def test_input_for_a_task_that_has_closed_it_or_does_not_exist_is_an_error() -> None:
    network = Forwarded([1, 1], closed=[1])
    gone, nobody = network.push(0, procs(1), b"x"), network.push(0, procs(9), b"x")
    network.run()
    assert network.replies[gone][0] == Status.ERR_NOT_AVAILABLE
    assert network.replies[nobody][0] == Status.ERR_NOT_FOUND


def test_input_for_a_shell_that_is_lost_or_says_nothing_ends_in_an_error() -> None:
    network = Forwarded([1, 1, 1])
    lost = network.push(0, procs(1), b"x")
    network.lose(1)
    assert network.replies[lost][0] == Status.ERR_LOST_CONNECTION
    silent = network.push(0, procs(2), b"x")
    network.queues.clear()
    network.pass_time(60)
    assert network.replies[silent][0] == Status.ERR_TIMEOUT
    assert network.idle


def test_a_lost_listener_is_not_written_to() -> None:
    network = Forwarded([1, 1])
    network.pull(0, procs())
    network.lose(0)
    network.print(1, b"x")
    assert not network.queues and network.listening[1] is False


@settings(max_examples=60, deadline=None)
@given(st.data(), st.lists(st.tuples(st.integers(0, 4), st.binary(min_size=1, max_size=8)), max_size=20))
def test_nothing_is_lost_or_mixed_up_whichever_shell_is_heard_first(
    data: st.DataObject, lines: list[tuple[int, bytes]]
) -> None:
    network = Forwarded([2, 1, 2])
    network.pull(1, procs())
    for rank, text in lines:
        network.print(rank, text)
    network.run(lambda pairs: data.draw(st.sampled_from(pairs)))
    for rank in range(5):
        mine = [text for _, who, _, text in network.delivered if who == rank]
        assert mine == [text for who, text in lines if who == rank]


def test_frames_that_make_no_sense_are_dropped() -> None:
    network = Forwarded([1, 1])
    network.pull(0, procs())
    bodies = [None, (None,), ((0,), 2), ((5,), 2), (None, 99), (None, "x"), 3]
    bad = [Message(Tag.WANT, 0, 0, frames.NO_DIGEST, 0, ((0, wire.encode(body)),)) for body in bodies]
    bad += [
        Message(Tag.INPUT, 0, 0, frames.NO_DIGEST, 0, ((0, wire.encode((None, 7))),)),
        Message(Tag.WANT, 0, 0, b"\0" * 16),
    ]
    bad += [Message(Tag.OUTPUT, 2, rank, b"\0" * 16, 0, ((0, b"x"),)) for rank in (1, 9)]
    bad += [Message(Tag.OUTPUT, 77, 0, b"\0" * 16, 0, ((0, b"x"),))]
    for message in bad:
        network.perform(1, network.hosts[1].receive(0, b"".join(map(bytes, frames.encode(message))), 0.0))
    assert not network.delivered and not network.fed
    assert network.hosts[1].counters["malformed"] == len(bad)
