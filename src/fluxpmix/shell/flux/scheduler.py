"""What Flux's job manager says of queues and jobs: for queries of processes. Never waited for: it answers later.

Used by `plugin.py`. Requests: job-manager.queue-list and queue-status, job-list.list-id; any user may make them.
"""

from __future__ import annotations

from collections.abc import Callable
from json import dumps

from fluxpmix.job import jobid
from fluxpmix.pmix import attributes
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.handle import ANY_BROKER, ShellError
from fluxpmix.shell.flux.jsontext import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STATES = {1: "NEW", 2: "DEPEND", 4: "PRIORITY", 8: "SCHED", 16: "RUN", 32: "CLEANUP", 64: "INACTIVE"}
_RESULTS = {1: "COMPLETED", 2: "FAILED", 4: "CANCELED", 8: "TIMEOUT"}


def enquire(api: Shell, info: dict[str, Any], key: str, subject: str, done: Callable[[str | None], None]) -> None:
    """Ask Flux what a query's key wants to know; `info` is flux-shell's of the job, `done` gets a text or None."""
    if key == attributes.QUERY_QUEUE_LIST:
        topic, request, read = b"job-manager.queue-list", {}, _queues
    elif key == attributes.QUERY_QUEUE_STATUS:
        name = subject or info["jobspec"]["attributes"]["system"].get("queue")
        topic, request, read = b"job-manager.queue-status", {"name": name} if name else {}, _queue
    else:
        try:
            job = number(subject) if subject else info["jobid"]
        except ValueError:
            done(None)
            return
        topic, request, read = b"job-list.list-id", {"id": job, "attrs": ["state", "result"]}, _job

    def answered(error: int, payload: bytes) -> None:
        try:
            done(None if error else read(loads(payload.rstrip(b"\0").decode())))
        except (ValueError, KeyError, TypeError, AttributeError):
            done(None)  # another Flux, with other answers

    try:
        api.call(topic, ANY_BROKER, f"{dumps(request)}\0".encode(), answered)
    except ShellError:
        done(None)


def number(text: str) -> int:
    """Return the number of a job from its name, F58 or decimal. Raises ValueError."""
    return int(text) if text.isdecimal() else jobid.decode(text)


def _queues(answer: dict[str, Any]) -> str:
    return ",".join(answer["queues"])


def _queue(answer: dict[str, Any]) -> str:
    """Return e.g. "enabled,started", as `flux queue status` has it, with the reason of what is not so."""
    words = [
        "enabled" if answer["enable"] else _with_reason("disabled", answer.get("disable_reason")),
        "started" if answer["start"] else _with_reason("stopped", answer.get("stop_reason")),
    ]
    return ",".join(words)


def _with_reason(word: str, reason: str | None) -> str:
    return f"{word} ({reason})" if reason else word


def _job(answer: dict[str, Any]) -> str:
    """Return a job's state as `flux jobs` has it: its result, once there is one."""
    job = answer["job"]
    return _RESULTS.get(job.get("result", 0)) or _STATES[job["state"]]
