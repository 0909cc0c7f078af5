"""Who may connect to a job shell's PMIx server: the job's owner, as a task from the job's processes, else as a tool.

libpmix listens on TCP and takes a client's word for its user id. The kernel knows better: whose the other
end of a connection is, and which process holds it. Every process of a job is below its shell (orphans
too: shells are subreapers), so a process is the job's if and only if it is found there. Another process of the
owner's has to say that it is a tool, and may not take the name of a task.

Runs on libpmix's thread, for each connection, before a byte of it is read (`pmix/gate.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from struct import pack, unpack_from

from fluxpmix.pmix.greeting import TOOLS, Greeting
from fluxpmix.shell.local.tasks import children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.pmix.gate import Verdict

_SOCK_DIAG, _BY_FAMILY = 4, 20
_ESTABLISHED = 1
_TRIES = 3  # a process that forks while we look may hide once


class Guard:
    """Decides on connections. `log(message)` is told of each refusal; call it from any thread."""

    def __init__(
        self,
        log: Callable[[str], None],
        *,
        version: tuple[int, ...],
        nspace: str = "",
        by_process: bool = True,
    ) -> None:
        """`version` is the server's libpmix's, `nspace` the job's; with `by_process` off, any process of the owner's
        may be a task.

        libpmix's server takes credentials of one kind, that which PMIX_MCA_psec names, and crashes on others. So it
        does on a format that is newer than itself.
        """
        self._log = log
        self._version = version
        self._nspace = nspace
        self._by_process = by_process
        self._uid = os.geteuid()
        self._shell = os.getpid()
        self._known: dict[int, str] = {}  # the processes that have connected: they seldom do again

    def __call__(self, descriptor: int) -> Verdict:
        """Return None to let a connection in, why it is closed, or `judge_stranger`: it need first say what it is."""
        verdict = self._judge(descriptor)
        return self._refuse(verdict) if isinstance(verdict, str) else verdict

    def judge_stranger(self, greeting: Greeting) -> str | None:
        """Judge a process of the owner's that is none of the job's by what it says that it is."""
        security = os.environ.get("PMIX_MCA_psec") or "native"  # noqa: SIM112 (libpmix's own name)
        if greeting.security not in security.split(","):
            return self._refuse(
                f"it proves who it is by {greeting.security}, which this server does not take; "
                f"set PMIX_SECURITY_MODE={security} in its environment"
            )
        if greeting.format > self._version:
            theirs, ours = ".".join(map(str, greeting.format)), ".".join(map(str, self._version))
            return self._refuse(
                f"it packs data as libpmix {theirs} does, which this server's libpmix {ours} cannot read; "
                "set PMIX_MCA_bfrops=v41 in its environment"
            )
        if self._by_process:
            return self._judge_tool(greeting)
        return None

    def _judge_tool(self, greeting: Greeting) -> str | None:
        if greeting.kind not in TOOLS:
            return self._refuse("no process of the job holds its other end, and it is no tool")
        if greeting.proc is not None and greeting.proc.nspace == self._nspace:
            return self._refuse(f"a tool calls itself {greeting.proc}, a process of the job")
        return None

    def _refuse(self, reason: str) -> str:
        self._log(f"refused a connection to the PMIx server: {reason}")
        return reason

    def _judge(self, descriptor: int) -> Verdict:
        import _socket

        sock = _socket.socket(fileno=os.dup(descriptor))
        try:
            there, here = sock.getpeername(), sock.getsockname()
        except OSError:
            return "its other end is gone"
        finally:
            sock.close()
        owner = _owner(sock.family, there, here)
        if owner is None:
            return f"the kernel does not know who is at {there[0]} port {there[1]}; it is not on this machine"
        uid, inode = owner
        if uid != self._uid:
            return f"it belongs to user {uid}, the job to user {self._uid}"
        return None if self._held_below(inode) else self.judge_stranger

    def _held_below(self, inode: int) -> bool:
        """Whether a process below this shell holds the socket; who has not connected yet is looked at first."""
        link = f"socket:[{inode}]"
        for _ in range(_TRIES):
            again = []
            waiting = [self._shell]
            for parent in waiting:  # grows on the way
                for pid in children(parent):
                    waiting.append(pid)
                    if pid in self._known:
                        again.append(pid)
                    elif _holds(pid, link):
                        self._known[pid] = link
                        return True
            if any(_holds(pid, link) for pid in again):
                return True
        return False


def _holds(pid: int, link: str) -> bool:
    directory = f"/proc/{pid}/fd"
    try:
        # The newest first: who connects has just made that socket.
        names = sorted(os.listdir(directory), key=int, reverse=True)
        return any(_link(f"{directory}/{name}") == link for name in names)
    except OSError:
        return False


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _owner(family: int, local: tuple[str, int], remote: tuple[str, int]) -> tuple[int, int] | None:
    """Return the user and the inode of the socket on this machine with these ends, None where none has."""
    try:
        return _ask_kernel(family, local, remote)
    except OSError:  # no sock_diag in this kernel, or not for us
        return _search_tables(family, local, remote)


def _ask_kernel(family: int, local: tuple[str, int], remote: tuple[str, int]) -> tuple[int, int] | None:
    """Ask for one socket by its ends (sock_diag(7)): the same cost however many there are."""
    import _socket

    ends = b"".join(
        (
            pack("!HH", local[1], remote[1]),
            _socket.inet_pton(family, local[0]).ljust(16, b"\0"),
            _socket.inet_pton(family, remote[0]).ljust(16, b"\0"),
            pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF),  # any interface, no cookie
        )
    )
    body = pack("=BBBxI", family, _socket.IPPROTO_TCP, 0, 1 << _ESTABLISHED) + ends
    request = pack("=IHHII", 16 + len(body), _BY_FAMILY, 1, 1, 0) + body
    sock = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_DGRAM, _SOCK_DIAG)
    try:
        sock.send(request)
        answer = sock.recv(8192)
    finally:
        sock.close()
    (kind,) = unpack_from("=H", answer, 4)
    if kind == _BY_FAMILY:
        uid, inode = unpack_from("=II", answer, 16 + 4 + len(ends) + 4 + 8)
        return uid, inode
    (error,) = unpack_from("=i", answer, 16)
    if error == -2:  # ENOENT
        return None
    raise OSError(-error, os.strerror(-error))


def _search_tables(family: int, local: tuple[str, int], remote: tuple[str, int]) -> tuple[int, int] | None:
    import _socket

    wanted = [_hex(family, local), _hex(family, remote)]
    with open("/proc/net/tcp6" if family == _socket.AF_INET6 else "/proc/net/tcp", encoding="ascii") as table:
        for line in table:
            fields = line.split()
            if fields[1:3] == wanted:
                return int(fields[7]), int(fields[9])
    return None


def _hex(family: int, end: tuple[str, int]) -> str:
    """Write one end as /proc/net/tcp does: address words in the machine's byte order, then the port."""
    import _socket

    packed = _socket.inet_pton(family, end[0])
    words = "".join(f"{word:08X}" for (word,) in (unpack_from("=I", packed, at) for at in range(0, len(packed), 4)))
    return f"{words}:{end[1]:04X}"
