"""Job shells that stay for the next job, and the launcher's process that keeps them: half of `fluxpmix.Launcher`.

`pool.py` starts a process that runs `work`: it takes one request after another from a socket and runs each as
`launcher.run` does, with shells that are there already. A warm shell has all modules, libpmix and a PMIx server;
a job costs it a registration. Whatever ends but well takes its shell with it, and the next job gets a new one.
Descriptors go along with the messages (SCM_RIGHTS): standard streams are those of the program at each call.
"""

from __future__ import annotations

import _socket
import array
import gc
import os
import pickle
import sys
from struct import Struct

from fluxpmix.pmix.light import partial, signal, suppress
from fluxpmix.pmix.process import close_descriptors
from fluxpmix.shell.local import jobdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from fluxpmix.shell.local.shell import Plan

_LENGTH = Struct("!Q")
_MOST_DESCRIPTORS = 8
_MOST_IDLE = 16  # shells that are kept
_JOBS = 1000  # that a shell has before a new one takes its place


def send(sock: _socket.socket, value: Any, descriptors: tuple[int, ...] = ()) -> None:
    """Send a value with open descriptors. Raises `OSError`."""
    pickled = pickle.dumps(value)
    data = memoryview(_LENGTH.pack(len(pickled)) + pickled)
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    sent = sock.sendmsg([data], rights)
    while sent < len(data):
        sent += sock.send(data[sent:])


def receive(sock: _socket.socket) -> tuple[Any, list[int]] | None:
    """Return the next value and its descriptors; None where the other end is gone."""
    fds = array.array("i")
    space = _socket.CMSG_LEN(_MOST_DESCRIPTORS * fds.itemsize)
    try:
        head, rights, _, _ = sock.recvmsg(_LENGTH.size, space, _socket.MSG_CMSG_CLOEXEC)
        for _level, _kind, data in rights:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        head += _exactly(sock, _LENGTH.size - len(head)) if head else b""
        if head:
            return pickle.loads(_exactly(sock, _LENGTH.unpack(head)[0])), list(fds)
    except OSError:
        pass
    for fd in fds:
        os.close(fd)
    return None


def _exactly(sock: _socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    left = memoryview(data)
    while left:
        count = sock.recv_into(left)
        if not count:
            raise ConnectionResetError("the other end is gone")
        left = left[count:]
    return data


def take_streams(descriptors: list[int]) -> list[int]:
    """Make the first three of these the standard streams; return the others."""
    for at, fd in enumerate(descriptors[:3]):
        os.dup2(fd, at)
        os.close(fd)
    return descriptors[3:]


# -- the launcher's side ---------------------------------------------------------------------------


class _Shell:
    """A shell of the pool, busy or idle."""

    def __init__(self, pid: int, sock: _socket.socket, directory: str) -> None:
        self.pid = pid
        self.sock = sock
        self.directory = directory
        self.jobs = 0


class Warm:
    """The shells of one launcher. A job has those of its nodes: no two jobs have one at the same time."""

    def __init__(self, directory: str, program: int) -> None:
        self.program = program  # a descriptor that can be read when the program is gone
        self._directory = directory
        self._made = 0
        self._idle: dict[tuple[Any, ...], _Shell] = {}
        self._busy: dict[int, tuple[tuple[Any, ...], _Shell]] = {}  # by process id

    @property
    def pids(self) -> frozenset[int]:
        """The processes that are to be left alone when a job has ended."""
        return frozenset(one.pid for one in self._idle.values())

    def start(self, plan: Plan, rank: int, sock: _socket.socket, listener: _socket.socket | None) -> int:
        """Have a shell do its part of a job; return its process id. Raises `OSError`."""
        request = plan.request
        # What a server cannot change any more.
        key = (rank, request.job.nodes[rank].hostname, request.libpmix, request.security)
        one = self._idle.pop(key, None) or self._fork()
        descriptors = (0, 1, 2, sock.fileno(), *(() if listener is None else (listener.fileno(),)))
        send(one.sock, (plan, rank), descriptors)
        one.jobs += 1
        self._busy[one.pid] = key, one
        return one.pid

    def give_back(self, pid: int) -> None:
        """A shell has done its part, and can do another's."""
        key, one = self._busy.pop(pid)
        if one.jobs >= _JOBS or key in self._idle:
            self._end(one)
            return
        self._idle[key] = one
        if len(self._idle) > _MOST_IDLE:
            self._end(self._idle.pop(next(iter(self._idle))))

    def job_ended(self) -> None:
        """What was not given back is gone."""
        for _, one in self._busy.values():
            self._end(one)
        self._busy.clear()

    def close(self) -> None:
        """End all shells."""
        self.job_ended()
        for one in self._idle.values():
            self._end(one)
        self._idle.clear()

    def _fork(self) -> _Shell:
        from fluxpmix.shell.local.shells import leave_launcher

        self._made += 1
        directory = f"{self._directory}/{self._made}"
        os.mkdir(directory, 0o700)
        ours, theirs = _socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                leave_launcher((), {theirs.fileno()})
                _serve(theirs, directory)
            finally:
                os._exit(1)
        theirs.close()
        return _Shell(pid, ours, directory)

    @staticmethod
    def _end(one: _Shell) -> None:
        one.sock.close()
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(one.pid, 0)
        jobdir.remove(one.directory)


def work(sock: _socket.socket, grouped: bool) -> NoReturn:
    """Run the jobs that are asked for, until the program is gone or has closed its launcher; then exit."""
    try:
        if not grouped:
            os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # between jobs: it is the program's
        for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(signum, signal.SIG_DFL)
        close_descriptors({sock.fileno()})
        _work(sock)
    finally:
        os._exit(0)


def _work(sock: _socket.socket) -> None:
    from fluxpmix.job import jobid
    from fluxpmix.shell.local import launcher

    directory = jobdir.make(f"pool-{jobid.encode(int.from_bytes(os.urandom(8), 'big'))}", 0)
    warm = Warm(directory, sock.fileno())
    try:
        while (asked := receive(sock)) is not None:
            request, descriptors = asked
            take_streams(descriptors)
            try:
                launcher.run(request, warm, partial(_tell, sock, warm))
            except Exception as error:
                _tell(sock, warm, error)
    finally:
        warm.close()
        jobdir.remove(directory)


def _tell(sock: _socket.socket, warm: Warm, result: int | Exception) -> None:
    """Tell the program what came of a job; it may ask for the next while files of this one are removed."""
    warm.job_ended()
    null = os.open(os.devnull, os.O_RDWR)
    take_streams([null, os.dup(null), os.dup(null)])  # who reads the program's output shall see its end
    send(sock, result)


def main() -> NoReturn:
    """In a fresh interpreter, where the program could not fork: the socket's descriptor is an argument."""
    work(_socket.socket(fileno=int(sys.argv[2])), sys.argv[3] == "grouped")


# -- the shell's side ------------------------------------------------------------------------------


def _serve(sock: _socket.socket, directory: str) -> NoReturn:
    """Be a warm shell: job after job, while the launcher lives and all goes well."""
    from fluxpmix.shell.keeper import Keeper
    from fluxpmix.shell.local.shell import JobShell

    keeper = Keeper(directory)
    code = 0
    while not code and (told := receive(sock)) is not None:
        (plan, rank), descriptors = told
        rest = [_socket.socket(fileno=fd) for fd in take_streams(descriptors)]
        code = JobShell(plan, rank, rest[0], rest[1] if rest[1:] else None, keeper).run()
        os.chdir("/")
        gc.collect(1)  # what a job leaves refers to itself; while nobody waits is the time for it
    jobdir.remove(directory)
    os._exit(code)
