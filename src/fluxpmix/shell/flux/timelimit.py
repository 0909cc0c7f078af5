"""A Flux job's time limit: when it is up, and how it is asked for more.

The limit is R's expiration (RFC 20). More is asked of the job manager, as `flux update JOBID duration=+TIME` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic, time

from fluxpmix.host.effects import Level
from fluxpmix.pmix.status import Status
from fluxpmix.shell.flux import resources
from fluxpmix.shell.flux.handle import ANY_BROKER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.flux.api import Shell


class TimeLimit:
    """The time limit of this shell's job."""

    def __init__(self, api: Shell) -> None:
        self._api = api
        self._extended = 0.0  # seconds by which the job's time has been extended from here

    def ends_at(self) -> float | None:
        """Return when the job's time is up, as `monotonic` counts; None: never."""
        expiration = resources.expiration(self._api.info()["R"])
        return None if expiration is None else monotonic() + expiration - time()

    def extend(self, seconds: float, done: Callable[[int], None]) -> None:
        """Ask Flux to let the job run longer; it may refuse, or not be asked: a job without a limit has time."""
        info = self._api.info()
        if resources.expiration(info["R"]) is None:
            done(Status.SUCCESS)
            return
        duration = float(info["jobspec"]["attributes"]["system"].get("duration", 0)) + self._extended + seconds
        request = f'{{"id":{info["jobid"]},"updates":{{"attributes.system.duration":{duration!r}}}}}\0'.encode()

        def answered(error: int, _answer: bytes) -> None:
            if error:
                self._api.log(Level.WARNING, f"Flux does not extend the job's time: {os.strerror(error)}")
                done(Status.ERR_NO_PERMISSIONS if error in (1, 13) else Status.ERR_NOT_SUPPORTED)
            else:
                self._extended += seconds
                done(Status.SUCCESS)

        self._api.call(b"job-manager.update", ANY_BROKER, request, answered)
