"""A real PMIx server in the test's process, real client processes, and a host that a test scripts.

The server's upcalls go through a queue to a thread that answers them, as in a carrier.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from installed import libpmix

import fluxpmix
from fluxpmix.pmix.library import Library, load
from fluxpmix.pmix.server import Server
from fluxpmix.pmix.types import Info, Proc
from fluxpmix.pmix.upcalls import IofPull, Upcall

# Long enough for a loaded machine; nothing waits this long when all is well.
PATIENCE = 60.0
NSPACE = "job"
HERE = str(Path(__file__).resolve().parent)
SOURCE = str(Path(fluxpmix.__file__).resolve().parent.parent)

Answer = tuple[int, Any]
Host = Mapping[type[Upcall], Callable[[Any], Answer | None]]


def library(version: str) -> Library:
    """The libpmix of this version, or a skip that says what is missing."""
    return load(libpmix(version))


def wait_for(what: Callable[[], bool], why: str) -> None:
    """Wait until `what()`, or fail saying `why`."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, f"never happened: {why}"
        threading.Event().wait(0.002)


def directories(tmpdir: Path) -> dict[str, Any]:
    """What every server of a test is told of its place."""
    return {
        "pmix.srv.nspace": "server",
        "pmix.srv.rank": 0,
        "pmix.srvr.tmpdir": str(tmpdir),
        "pmix.sys.tmpdir": str(tmpdir),
        "pmix.hname": "node0",
        "pmix.nodeid": 0,
        "pmix.iof.local": False,
    }


def lone_server(library: Library, tmpdir: Path) -> Server:
    """A server without jobs, for what libpmix does only once it is initialized."""
    return Server(library, lambda upcall: None, serves=(), directives=directories(tmpdir))


def client_program(library: Library, tmpdir: Path) -> list[str]:
    """Compile clients/exchange.c with this library, or skip where there is no compiler."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    source = Path(HERE).parent / "clients" / "exchange.c"
    binary = tmpdir / "exchange"
    if not binary.exists():
        runpath = f"-Wl,-rpath,{Path(library.path).parent}"
        subprocess.run(["cc", "-O1", "-o", binary, source, library.path, runpath], check=True)
    return [str(binary)]


def compiled(directory: Path, name: str, source: str, *options: str) -> Path:
    """Compile a C text, or skip where there is no compiler."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    text, binary = directory / f"{name}.c", directory / name
    text.write_text(source)
    subprocess.run(["cc", "-o", binary, text, *options], check=True)
    return binary


def headers(library: Library) -> Path:
    """Where the C headers of this library are, or a skip that says so."""
    prefix = Path(library.path).resolve().parent.parent
    wanted = "".join(f"{part:02x}" for part in library.version[:2])
    for place in (prefix / "include", *sorted(Path("/usr/include").glob("pmix*"))):
        file = place / "pmix_version.h"
        if file.exists() and f"PMIX_NUMERIC_VERSION 0x00{wanted}" in file.read_text():
            return place
    pytest.skip(f"no headers of that version beside {library.path}: install them, e.g. libpmix-dev")


def c_values(directory: Path, include: Path, expressions: Iterable[str]) -> dict[str, int]:
    """What these C expressions are with the headers of libpmix."""
    wanted = list(expressions)
    prints = "\n".join(f'    printf("%lld\\n", (long long)({expression}));' for expression in wanted)
    source = f"""
#include <stddef.h>
#include <stdio.h>
#include <pmix_server.h>
int main(void)
{{
{prints}
    return 0;
}}
"""
    binary = compiled(directory, "values", source, f"-I{include}")
    written = subprocess.run([binary], check=True, capture_output=True, text=True).stdout
    return dict(zip(wanted, map(int, written.split()), strict=True))


class Live:
    """One namespace of `size` local processes on one server; `others` more are said to run elsewhere."""

    def __init__(
        self,
        library: Library,
        tmpdir: Path,
        *,
        size: int = 1,
        others: int = 0,
        host: Host | None = None,
        admit: Callable[[Proc], str | None] | None = None,
        gate: Callable[[int], str | None] | None = None,
        directives: Mapping[str, Any] | None = None,
        on_upcall: Callable[[Any], None] | None = None,
    ) -> None:
        self.library = library
        self.tmpdir = tmpdir
        self.size = size
        self.upcalls: list[Any] = []
        self.errors: list[BaseException] = []
        self._host = dict(host or {})
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._clients: list[subprocess.Popen[str]] = []
        self.server = Server(
            library,
            on_upcall or self._queue.put,
            serves=frozenset(self._host),
            admit=admit,
            gate=gate,
            directives={**directories(tmpdir), **(directives or {})},
        )
        self.server.on_error = self.errors.append
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()
        try:
            self._register(others)
        except BaseException:
            self.close()
            raise

    def _register(self, others: int) -> None:
        nodes, ranks = "node0", ",".join(map(str, range(self.size)))
        if others:
            nodes += ",node1"
            ranks += ";" + ",".join(map(str, range(self.size, self.size + others)))
        self.server.register_nspace(
            NSPACE,
            self.size,
            [
                Info("pmix.nmap", self.server.generate_regex(nodes)),
                Info("pmix.pmap", self.server.generate_ppn(ranks)),
                Info("pmix.job.size", self.size + others),
                Info("pmix.univ.size", self.size + others),
                Info("pmix.tmpdir", str(self.tmpdir)),
                Info("pmix.nsdir", str(self.tmpdir)),
                Info("pmix.jobid", NSPACE),
            ],
        )
        for rank in range(self.size):
            self.server.register_client(Proc(NSPACE, rank), os.getuid(), os.getgid())

    def _answer(self) -> None:
        while (upcall := self._queue.get()) is not None:
            self.upcalls.append(upcall)
            try:
                answer = self._host[type(upcall)](upcall)
                if answer is not None and not isinstance(upcall, IofPull):
                    self.server.reply(upcall.id, *answer)
            except Exception as error:
                self.errors.append(error)

    def seen(self, kind: type[Upcall]) -> list[Any]:
        return [upcall for upcall in self.upcalls if type(upcall) is kind]

    def environment(self, rank: int, client: Library | None = None) -> dict[str, str]:
        env = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
        env |= {"PYTHONPATH": os.pathsep.join((SOURCE, HERE)), "FLUXPMIX_LIBPMIX": (client or self.library).path}
        env |= self.server.setup_fork(Proc(NSPACE, rank), env)
        return env

    def start(
        self, rank: int, program: str | list[str], client: Library | None = None, **more: str
    ) -> subprocess.Popen[str]:
        """Start a client: a Python text (with `client` a connected Client), or a command."""
        if isinstance(program, str):
            program = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-c", PRELUDE + program]
        process = subprocess.Popen(
            program,
            env=self.environment(rank, client) | more,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.tmpdir,
        )
        self._clients.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], status: int | None = 0) -> str:
        """Wait for a client and return what it wrote; it must have ended with `status`."""
        out, err = process.communicate(timeout=PATIENCE)
        assert status is None or process.returncode == status, f"{process.returncode}\n{out}\n{err}"
        return out

    def run(self, *programs: str | list[str], client: Library | None = None) -> list[str]:
        """Start rank 0, 1, ... and return what each wrote."""
        started = [self.start(rank, program, client) for rank, program in enumerate(programs)]
        written = [self.finish(process) for process in started]
        assert not self.errors
        return written

    def close(self) -> None:
        for process in self._clients:
            if process.poll() is None:
                process.kill()
            process.communicate()
        try:
            for rank in range(self.size):
                self.server.deregister_client(Proc(NSPACE, rank))
            self.server.deregister_nspace(NSPACE)
        finally:
            self.server.close()
            self._queue.put(None)
            self._thread.join(PATIENCE)

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


PRELUDE = """
import os, sys
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.types import *
"""
