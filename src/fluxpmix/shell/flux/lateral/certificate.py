"""How the shells of a job come by one certificate: shell 0 makes it, the others ask it for it.

Used by both ends of links. They ask through the job's service, which only the job's owner can reach.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.handle import Request, ShellError
from fluxpmix.shell.tls import Identity, new_identity


class Certificate:
    """The job's identity, once it is here."""

    def __init__(self, api: Shell, topic: bytes, first: int | None) -> None:
        """`first` is shell 0's broker, None where this is shell 0; `topic` what it serves."""
        self._api = api
        self._topic = topic
        self._first = first
        self._pem = b""  # shell 0's
        self._wanting: list[Callable[[str], None]] = []
        self.identity: Identity | None = None

    def when_here(self, call: Callable[[str], None]) -> None:
        """Run `call(problem)` when it is here; `problem` is empty, or why it never will be."""
        if self.identity is not None:
            call("")
            return
        self._wanting.append(call)
        if len(self._wanting) > 1:
            return
        try:
            if self._first is None:
                self._came(0, self._made())
            else:
                self._api.call(self._topic, self._first, b"", self._came)
        except (ImportError, OSError, ShellError) as error:
            self._tell(str(error))

    def serve(self, request: Request) -> None:
        """Give it to another shell."""
        try:
            request.respond(self._made())
        except (ImportError, OSError) as error:
            request.refuse(errno.ENOTSUP, str(error))

    def _made(self) -> bytes:
        self._pem = self._pem or new_identity()
        return self._pem

    def _came(self, error: int, pem: bytes) -> None:
        problem = f"no certificate from shell 0: {os.strerror(error)}" if error else ""
        if not error:
            try:
                self.identity = Identity(pem)
            except (OSError, ValueError) as refused:
                problem = str(refused)
        self._tell(problem)

    def _tell(self, problem: str) -> None:
        wanting, self._wanting = self._wanting, []
        for call in wanting:
            call(problem)
