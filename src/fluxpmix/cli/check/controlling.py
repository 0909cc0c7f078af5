"""What processes have done to each other: log, job control, session control. `operations.py` names these steps.

Who is signalled counts it, who is paused sees that time has passed: the ranks themselves judge. Standard 4.2,
chapter 12.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter

from fluxpmix.cli.check.deaths import Wrong
from fluxpmix.cli.check.trying import Trial
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.types import Scope

_PAUSE = 0.2  # seconds
_TICK = 0.01
_MOMENT = 1.0  # seconds that a signal may take which has been sent
_OWN_SESSION = 0xFFFFFFFF
_SENT = "check.session-signal"

signals: Counter[int] = Counter()  # that came to this process


def heed() -> None:
    """Count signals from now on: those that do no harm to a script whose command this is. Only the main thread can."""
    for signum in (signal.SIGURG, signal.SIGWINCH):
        signal.signal(signum, lambda signum, _frame: signals.update((signum,)))


def log(trial: Trial) -> None:
    """Log a line to stderr."""
    if not trial.rank:
        trial.client.log({a.LOG_STDERR: "flux-pmix check: this line came by PMIx_Log\n"})


def count(trial: Trial) -> None:
    """Remember which signals have come."""
    trial.kept["before"] = Counter(signals)


def signal_one(trial: Trial) -> None:
    """Send the last rank a signal."""
    if not trial.rank:
        trial.client.job_control([trial.proc(trial.size - 1)], {a.JOB_CTRL_SIGNAL: int(signal.SIGURG)})


def one_was_signalled(trial: Trial) -> None:
    """The last rank has it, and nobody else."""
    _expect(trial, signal.SIGURG, int(trial.rank == trial.size - 1))


def signal_all(trial: Trial) -> None:
    """Send the whole job a signal."""
    if not trial.rank:
        trial.client.job_control([trial.client.job], {a.JOB_CTRL_SIGNAL: int(signal.SIGWINCH)})


def all_were_signalled(trial: Trial) -> None:
    """All have it."""
    _expect(trial, signal.SIGWINCH, 1)


def signal_session(trial: Trial) -> None:
    """Send this job's session a signal, and say whether it was sent."""
    if trial.rank:
        return
    sent = False
    try:
        trial.client.session_control(_OWN_SESSION, {a.SESSION_SIGNAL: int(signal.SIGURG)})
        sent = True
    finally:
        trial.client.put(Scope.GLOBAL, _SENT, sent)
        trial.client.commit()


def session_was_signalled(trial: Trial) -> None:
    """All have it."""
    if trial.client.get(_SENT, trial.proc(0), {a.TIMEOUT: 1}):
        _expect(trial, signal.SIGURG, 1)


def _expect(trial: Trial, signum: int, times: int) -> None:
    deadline = time.monotonic() + _MOMENT
    while (came := signals[signum] - trial.kept["before"][signum]) < times and time.monotonic() < deadline:
        time.sleep(_TICK)
    if came != times:
        raise Wrong(f"{signal.Signals(signum).name} came {came} times to rank {trial.rank}, not {times}")


def tick(trial: Trial) -> None:
    """Have the last rank see from now on whether it stands still."""
    if trial.rank != trial.size - 1:
        return
    trial.kept["end"] = end = threading.Event()
    trial.kept["gap"] = 0.0

    def run() -> None:
        last = time.monotonic()
        while not end.wait(_TICK):
            now = time.monotonic()
            trial.kept["gap"] = max(trial.kept["gap"], now - last)
            last = now

    threading.Thread(target=run, daemon=True).start()


def pause(trial: Trial) -> str | None:
    """Pause the last rank for a while, and resume it."""
    if trial.size < 2:
        return "needs 2 ranks"
    if not trial.rank:
        trial.client.job_control([trial.proc(trial.size - 1)], {a.JOB_CTRL_PAUSE: True})
        time.sleep(_PAUSE)
        trial.client.job_control([trial.proc(trial.size - 1)], {a.JOB_CTRL_RESUME: True})
    return None


def was_paused(trial: Trial) -> None:
    """The last rank has stood still meanwhile, and goes on."""
    if trial.rank == trial.size - 1:
        time.sleep(2 * _TICK)
        trial.kept["end"].set()
        if trial.size > 1 and trial.kept["gap"] < _PAUSE / 2:
            raise Wrong(f"rank {trial.rank} was paused for {_PAUSE:g} s, and went on all the while")
