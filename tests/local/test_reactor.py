"""What must hold of the event loop: who runs callbacks, and that another thread takes its place only when it may."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from fluxpmix.shell.local.reactor import Reactor

PATIENCE = 30.0


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    loop = Reactor()
    yield loop
    loop.close()


def enter_when_idle(loop: Reactor, call: Callable[[], None]) -> None:
    while not loop.enter(call):
        pass


def beside(loop: Reactor, work: Callable[[], None]) -> None:
    """Run the loop while `work` runs on another thread, to its end."""

    def run() -> None:
        try:
            work()
        finally:
            loop.post(loop.stop)

    thread = threading.Thread(target=run)
    thread.start()
    loop.run()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_another_thread_takes_the_place_of_an_idle_loop(reactor: Reactor) -> None:
    ran: list[int] = []
    beside(reactor, lambda: enter_when_idle(reactor, lambda: ran.append(threading.get_ident())))
    assert len(ran) == 1 and ran[0] != threading.get_ident()


def test_nobody_enters_a_loop_that_does_not_run(reactor: Reactor) -> None:
    assert not reactor.enter(pytest.fail)
    reactor.post(reactor.stop)
    reactor.run()
    assert not reactor.enter(pytest.fail)


def test_nobody_enters_while_a_callback_runs_and_nothing_posted_is_overtaken(reactor: Reactor) -> None:
    busy, tried = threading.Event(), threading.Event()
    order: list[str] = []
    refused: list[bool] = []

    def callback() -> None:
        busy.set()
        assert tried.wait(PATIENCE)
        order.append("callback")

    def work() -> None:
        reactor.post(callback)
        assert busy.wait(PATIENCE)
        reactor.post(lambda: order.append("posted"))
        refused.append(reactor.enter(lambda: order.append("never")))
        tried.set()
        enter_when_idle(reactor, lambda: order.append("entered"))

    beside(reactor, work)
    assert refused == [False]
    assert order == ["callback", "posted", "entered"]


def test_a_timer_that_is_set_by_who_entered_goes_off(reactor: Reactor) -> None:
    gone = threading.Event()

    def work() -> None:
        enter_when_idle(reactor, lambda: void(reactor.call_later(0.01, gone.set)))
        assert gone.wait(PATIENCE)

    beside(reactor, work)
    assert gone.is_set()


def test_two_threads_never_run_callbacks_at_once(reactor: Reactor) -> None:
    inside: list[int] = []
    most: list[int] = [0]

    def one() -> None:
        inside.append(1)
        most[0] = max(most[0], len(inside))
        inside.pop()

    def work() -> None:
        for turn in range(2000):
            if turn % 2 or not reactor.enter(one):
                reactor.post(one)

    beside(reactor, work)
    assert most == [1]


def void(_: object) -> None:
    """Take what a call returns."""
