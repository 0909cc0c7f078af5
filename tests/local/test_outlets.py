"""A reader that is slow slows nothing but itself, costs no more memory than is stated, and is told what it missed."""

from __future__ import annotations

from fluxpmix.host.effects import Buffer, Level
from fluxpmix.pmix.types import Proc
from fluxpmix.shell.outlets import LIMIT, Outlets

TASK = Proc("job", 3)
CHUNK = bytes(1 << 16)


class Readers:
    """Tools that read as much as a test lets them."""

    def __init__(self, *names: str) -> None:
        self.taken = {Proc(name, 0): 0 for name in names}
        self.got: list[bytes] = []
        self.hung_up: list[Proc] = []
        self.logs: list[str] = []
        self.outlets = Outlets(self._progress, self._send, self._hang_up, self._log)
        self.now = 0.0

    def _send(self, source: Proc, channel: int, data: Buffer) -> None:
        self.got.append(bytes(data))

    def _progress(self) -> dict[Proc, tuple[int, int]]:
        return {tool: (taken, max(0, self.sent - taken)) for tool, taken in self.taken.items()}

    def _hang_up(self, tool: Proc) -> bool:
        self.hung_up.append(tool)
        del self.taken[tool]
        return True

    def _log(self, level: Level, message: str) -> None:
        self.logs.append(message)

    def print(self, data: bytes, times: int = 1, reading: tuple[str, ...] = ()) -> None:
        for _ in range(times):
            before = self.sent
            self.outlets.deliver(TASK, 2, data, self.now)
            for name in reading:
                self.taken[Proc(name, 0)] += self.sent - before

    @property
    def sent(self) -> int:
        return sum(map(len, self.got))

    def read_all(self) -> None:
        for tool in self.taken:
            self.taken[tool] += 1 << 40
        self.outlets.pump(self.now)


def test_a_reader_that_keeps_up_gets_all_at_once() -> None:
    readers = Readers("fast")
    readers.print(CHUNK, 1000, reading=("fast",))
    assert readers.sent == 1000 * len(CHUNK)
    assert readers.outlets.dropped == 0 and readers.outlets.deadline is None


def test_a_reader_that_stops_costs_no_more_than_the_limit_and_loses_nothing_below_it() -> None:
    readers = Readers("slow")
    readers.print(b"first\n")
    readers.print(CHUNK, (LIMIT - (2 << 20)) // len(CHUNK))
    assert readers.outlets.dropped == 0
    while readers.outlets.waiting:
        readers.read_all()
    assert readers.sent == len(b"first\n") + (LIMIT - (2 << 20)) // len(CHUNK) * len(CHUNK)


def test_what_is_too_much_is_dropped_and_the_reader_is_told_how_much() -> None:
    readers = Readers("slow")
    readers.print(CHUNK, 2 * LIMIT // len(CHUNK))
    assert readers.sent <= LIMIT and readers.outlets.waiting <= LIMIT + len(CHUNK)
    dropped = readers.outlets.dropped
    assert dropped > LIMIT // 2
    while readers.outlets.waiting:
        readers.read_all()
    readers.print(b"after\n")
    said = [text for text in readers.got if b"dropped" in text]
    assert said == [f"[flux-pmix: {dropped} bytes of rank 3's output were dropped: this reader is too slow]\n".encode()]
    assert readers.got[-1] == b"after\n"


def test_the_oldest_or_the_newest_is_dropped() -> None:
    for oldest, kept in ((True, b"9" * 1000), (False, b"0" * 1000)):
        readers = Readers("slow")
        readers.outlets.limit, readers.outlets.drop_oldest = 4000, oldest
        readers.outlets.deliver(TASK, 2, bytes(2001), 0.0)
        for digit in range(10):
            readers.print(b"%d" % digit * 1000)
        for _ in range(20):
            readers.read_all()
        assert kept in readers.got


def test_the_end_of_a_stream_is_never_dropped() -> None:
    readers = Readers("slow")
    readers.outlets.limit = 4000
    readers.print(bytes(1000), 10)
    readers.print(b"")
    readers.print(bytes(1000), 10)
    for _ in range(20):
        readers.read_all()
    assert b"" in readers.got


def test_one_that_does_not_read_is_hung_up_on_where_another_does() -> None:
    readers = Readers("slow", "fast")
    for _ in range(3 * LIMIT // len(CHUNK)):
        readers.print(CHUNK, reading=("fast",))
        readers.now += 0.1
    assert readers.hung_up == [Proc("slow", 0)]
    assert any("does not read" in line for line in readers.logs)


def test_a_tool_that_wants_no_output_is_not_waited_for() -> None:
    """It is connected, as flux-pmix ps is: libpmix has nothing for it, so nothing waits in the kernel either."""
    readers = Readers("fast")
    idle = Proc("idle", 0)
    known = readers._progress
    readers.outlets._progress = lambda: {**known(), idle: (0, 0)}
    readers.print(CHUNK, 2000, reading=("fast",))
    assert readers.sent == 2000 * len(CHUNK)
    assert readers.outlets.dropped == 0 and not readers.hung_up


def test_nothing_is_kept_for_readers_that_have_gone() -> None:
    readers = Readers("slow")
    readers.print(CHUNK, 1000)
    assert readers.outlets.waiting and readers.outlets.dropped
    readers.got.clear()
    readers.taken.clear()
    readers.outlets.pump(readers.now)
    assert not readers.got, "libpmix would keep it for the next"
    readers.outlets.forget()
    readers.taken = {Proc("next", 0): 0}
    readers.print(b"new\n", reading=("next",))
    assert readers.got == [b"new\n"] and readers.outlets.deadline is None
