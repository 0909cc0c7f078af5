"""The launch sequence: one job registered with one shell's PMIx server, from init to finalize.

`Driver` (`shell/base.py`) owns one `JobServer`; both carriers share it. The order is that of the
Standard's launch description, stage 2: server init, resources, job and clients, `setup_application`
(shell 0) and `setup_local_support`, then `setup_fork` for each task; at the end deregistration,
server finalize, and the removal of what libpmix leaves in the server's directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from fluxpmix.job.registration import LocalFacts, registration
from fluxpmix.pmix import attributes
from fluxpmix.pmix.light import contextmanager, suppress
from fluxpmix.pmix.record import Record, replace
from fluxpmix.pmix.server import Server
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, Infos, IofChannel, Proc, Range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any

    from fluxpmix.host.effects import Buffer, Level
    from fluxpmix.job.model import Job
    from fluxpmix.pmix.attributes import Attribute
    from fluxpmix.pmix.gate import Judge
    from fluxpmix.pmix.library import Library
    from fluxpmix.pmix.upcalls import Upcall
    from fluxpmix.shell.keeper import Keeper
    from fluxpmix.shell.outlets import Outlets

RM_NAME = "fluxpmix"
_DATASTORE = "PMIX_MCA_gds"
_COMPRESSED = "PMIX_MCA_pcompress_base_limit"
_SECURITY = "PMIX_MCA_psec"
_SMALL = 1 << 16  # processes times local ones: what clients keep in all, in units of one process's data


class Site(Record):
    """What only this shell knows of the job: its directory, its user, its tasks' cores.

    `cpus` and `packages` are by rank: the cores a task is bound to ("0-3,7"; None: not bound) and
    the package that holds them all (None: more than one, or not bound). `gpus` are the job's here, by the
    names that the topology gives them.
    """

    shell_rank: int
    tmpdir: str  # exists, is ours alone (0700); all that libpmix writes goes below it
    topology_signature: str
    cpus: Mapping[int, str | None] = {}
    packages: Mapping[int, int | None] = {}
    gpus: tuple[str, ...] = ()
    gate: Judge | None = None  # who may connect, by descriptor: see `pmix/server.py`
    job_infos: Infos = ()  # besides the registration: what the carrier's users expect to find
    server_directives: Mapping[str, Any] = {}
    keeper: Keeper | None = None  # of a server that other jobs have after this one
    exits: bool = False  # the process ends with the job, and somebody else removes `tmpdir`


def stops(stop: str | None) -> Infos:
    """Return what a job's registration says of where its processes wait for a debugger (one of `STOPS`, or None)."""
    if stop is None:
        return ()
    from fluxpmix.host.debug import STOPS  # late: hardly a job has one

    return (Info(STOPS[stop], True),)


class JobServer:
    """A PMIx server that serves one job on one node, and the jobs that are spawned within it."""

    def __init__(
        self,
        job: Job,
        site: Site,
        library: Library,
        on_upcall: Callable[[Upcall], None],
        serves: Collection[type[Upcall]],
        supported: Mapping[str, Collection[Attribute]] = {},
        on_lost: Callable[[Proc], None] | None = None,
    ) -> None:
        """`on_lost(proc)` hears, on libpmix's thread, of each peer that hangs up and had not finalized."""
        self._job = job
        self._site = site
        self._library = library
        self._on_upcall = on_upcall
        self._serves = serves
        self._supported = supported
        self._on_lost = on_lost
        self._server: Server | None = None
        self._clients: set[Proc] = set()
        self._missing: set[Proc] = set()  # clients that are gone without having finalized
        self._here: dict[str, int] = {}  # by namespace: how many processes of it this node has, or had
        self._registered: list[str] = []  # namespaces
        # Namespace and rank of the server itself: one rank a shell, unique in the job.
        self.identity = Proc(f"{job.nspace}.shell", site.shell_rank)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The job's ranks on this node."""
        return tuple(self._job.taskmap.tasks(self._site.shell_rank))

    def open(self) -> None:
        """Start the server and register the job and its local clients.

        Raises `PmixError` where libpmix refuses, `OSError` where a directory cannot be made.
        """
        self.start()
        self.register()

    def start(self) -> None:
        """The first half of `open`: the server alone, which knows no job yet; on any thread."""
        keeper, site = self._site.keeper, self._site
        if keeper is None:
            self._server = self._make(self._on_upcall, site.gate)
        else:
            self._server = keeper.take(self.identity, self._on_upcall, site.gate, self._make)
            self.identity = keeper.identity

    def _make(self, on_upcall: Callable[[Upcall], None], gate: Judge | None) -> Server:
        with self._settings():
            server = Server(
                self._library, on_upcall, serves=self._serves, gate=gate, directives=self._server_directives()
            )
        os.chmod(self._directory, 0o700)  # which libpmix has opened to all, to leave its rendezvous files there
        server.register_resources([Info(attributes.RM_NAME, RM_NAME)])
        if (lost := self._on_lost) is not None and self._site.keeper is None:

            def told(_status: int, source: Proc, infos: Infos) -> None:
                # libpmix gathers these for a second: those after the first are named in the infos.
                for proc in {source, *(info.value for info in infos if isinstance(info.value, Proc))}:
                    lost(proc)

            server.register_event_handler([Status.ERR_LOST_CONNECTION], told)
        for function, honoured in self._supported.items():
            server.register_attributes(function, [attribute.name for attribute in honoured])
        return server

    def register(self, credential: str | None = None) -> None:
        """The second half: the job, with the credential that another shell made for it, and its clients."""
        if credential is not None:
            self._job = replace(self._job, credential=credential)
        self._register(self._job, self._site)

    def register_spawned(self, job: Job, packed: bytes) -> None:
        """Register a job that is spawned here, with what `setup_application` made of it. Its tasks are not bound."""
        if self._site.keeper is not None:
            self._site.keeper.spoil()
        self._register(job, replace(self._site, cpus={}, packages={}, job_infos=()))
        self.setup_local_support(packed, job)

    def register_other(self, job: Job) -> None:
        """Register a job that was there before this one joined it: none of its tasks is here."""
        missing = self._job.nodes[len(job.nodes) :]
        self._register(replace(job, nodes=job.nodes + missing), replace(self._site, cpus={}, packages={}, job_infos=()))

    def deregister(self, nspace: str) -> None:
        """Forget a job that came to nothing; no harm where it was not registered."""
        if nspace not in self._registered:
            return
        for proc in [proc for proc in self._clients if proc.nspace == nspace]:
            self.task_exited(proc)
        self._registered.remove(nspace)
        self._open_server().deregister_nspace(nspace)

    def _register(self, job: Job, site: Site) -> None:
        server, ranks = self._open_server(), job.ranks(site.shell_rank)
        nsdir = os.path.join(site.tmpdir, job.nspace)
        procdirs = {rank: os.path.join(nsdir, str(rank)) for rank in ranks}
        for path in (nsdir, *procdirs.values()):
            os.mkdir(path, 0o700)
        facts = self._facts(server, job, site, nsdir, procdirs)
        infos = [*registration(job, facts).infos(), *site.job_infos]
        server.register_nspace(job.nspace, len(ranks), infos)
        self._registered.append(job.nspace)
        self._here[job.nspace] = len(ranks)
        uid, gid = os.geteuid(), os.getegid()
        for rank in ranks:
            proc = Proc(job.nspace, rank)
            server.register_client(proc, uid, gid)
            self._clients.add(proc)
        for pset in job.psets:
            self.define_set(pset.name, [Proc(job.nspace, rank) for rank in pset.ranks])

    def watch(self, step: Callable[[str], AbstractContextManager[None]]) -> None:
        """Have the calls of a registration made within `step(name)`: a trace says what is libpmix's time."""
        server: Any = self._open_server()
        if self._site.keeper is not None:
            self._site.keeper.spoil()

        def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def within(*args: Any) -> Any:
                with step(name):
                    return call(*args)

            return within

        for name in ("register_nspace", "register_client"):
            setattr(server, name, watched(name, getattr(type(server), name).__get__(server)))

    def setup_application(self, job: Job | None = None) -> bytes:
        """Return what a job's tasks need from the network and the programming model, packed."""
        server, job = self._open_server(), job or self._job
        directives: list[Info] = [
            Info(attributes.SETUP_APP_ENVARS, True),
            Info(attributes.SETUP_APP_NONENVARS, True),
            Info(attributes.NODE_MAP, server.generate_regex(_node_names(job))),
            Info(attributes.PROC_MAP, server.generate_ppn(_task_lists(job))),
        ]
        if job.model is not None:
            directives.append(Info(attributes.MODEL_LIBRARY_NAME, job.model))
        return server.setup_application(job.nspace, directives)

    def setup_local_support(self, packed: bytes, job: Job | None = None) -> None:
        """Hand libpmix what `setup_application` made on shell 0."""
        if packed:
            self._open_server().setup_local_support((job or self._job).nspace, packed)

    def task_environment(self, proc: Proc) -> Mapping[str, str]:
        """Return the variables that make a task a client of this server."""
        return self._open_server().setup_fork(proc)

    def reply(self, upcall: int, status: int, payload: Any) -> None:
        """Complete an upcall."""
        self._open_server().reply(upcall, status, payload)

    def notify_event(self, status: int, source: Proc, range_: Range, infos: Infos) -> None:
        """Tell this node's clients of an event."""
        self._open_server().notify_event(status, source, range_, infos)

    def on_event(self, status: int, heard: Callable[[int, Proc, Infos], None]) -> None:
        """Have `heard(status, source, infos)` called, on libpmix's thread, with each event of this node's clients."""
        if self._site.keeper is not None:
            self._site.keeper.spoil()
        self._open_server().register_event_handler([status], heard)

    def define_set(self, name: str, members: Sequence[Proc] | None) -> None:
        """Have libpmix know a process set, and tell this node's clients; without members, that it is no more."""
        if self._site.keeper is not None:
            self._site.keeper.spoil()
        if members is None:
            self._open_server().delete_process_set(name)
        else:
            self._open_server().define_process_set(members, name)

    def forget(self, nspace: str) -> None:
        """Drop a namespace that tools had."""
        self._open_server().deregister_nspace(nspace)

    def outlets(self, log: Callable[[Level, str], None]) -> Outlets:
        """Return what gives output to the tools that pull it here."""
        from fluxpmix.shell.outlets import Outlets

        server = self._open_server()

        def send(source: Proc, channel: int, data: Buffer) -> None:
            server.iof_deliver(source, IofChannel(channel), data)

        def lost(tool: Proc) -> None:
            if self._on_lost is not None:
                self._on_lost(tool)

        return Outlets(lambda: server.connections.progress(lost), send, server.connections.hang_up, log)

    def tools_written(self) -> tuple[int, int]:
        """Return how much has been written for tools, and what of it waits in the kernel, once libpmix had a turn."""
        return self._open_server().tools_written()

    def heard_from(self, proc: Proc) -> int | None:
        """Return how many bytes a client has sent so far; None where its connection is not known, or is gone."""
        return self._open_server().connections.heard_from(proc)

    def request_modex(self, proc: Proc, done: Callable[[int, bytes], None]) -> None:
        """Ask libpmix for what local `proc` put; `done` runs on libpmix's thread."""
        self._open_server().request_modex(proc, done)

    def task_exited(self, proc: Proc) -> None:
        """Drop what libpmix keeps for a task that is gone, finalized or not."""
        if self._server is not None and proc in self._clients:
            self._clients.discard(proc)
            if self._server.deregister_client(proc):
                self._missing.add(proc)

    def expect_again(self, proc: Proc) -> None:
        """Have libpmix take in a task that is to start again under the name of one that is gone."""
        if self._site.keeper is not None:
            self._site.keeper.spoil()
        self.task_exited(proc)
        self._open_server().expect_again(proc, os.geteuid(), os.getegid())
        self._clients.add(proc)

    def recount(self, proc: Proc, count: int) -> None:
        """Have libpmix tell the number of a process's incarnation, of any node, and wait for one of this node again."""
        server = self._open_server()
        server.recount(proc, count)
        if proc in self._missing:
            self._missing.discard(proc)
            missing = sum(other.nspace == proc.nspace for other in self._missing)
            server.await_clients(proc.nspace, self._here[proc.nspace] - missing)

    def close(self) -> None:
        """Deregister the jobs and stop the server. Safe to call twice, or on one never opened."""
        server, self._server = self._server, None
        if server is None:
            return
        if self._site.exits:
            server.close(exiting=True)
            return
        for proc in sorted(self._clients):
            server.deregister_client(proc)
        self._clients.clear()
        for nspace in self._registered or (self._job.nspace,):
            server.deregister_nspace(nspace)
        if self._site.keeper is not None:
            self._site.keeper.give_back()
        else:
            server.close()
            if server.stays_up:
                self._tidy()

    # -- inside --------------------------------------------------------------------------------

    def _tidy(self) -> None:
        """Remove the files that PMIx_server_finalize would have removed."""
        tmpdir, host = self._site.tmpdir, self._job.nodes[self._site.shell_rank].hostname
        with suppress(OSError):
            for name in os.listdir(tmpdir):
                if name == "hwloc.sm" or name.startswith(f"pmix.{host}."):
                    os.unlink(os.path.join(tmpdir, name))

    def _open_server(self) -> Server:
        if self._server is None:
            raise RuntimeError("the job's PMIx server is not open")
        return self._server

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """Set what libpmix reads from the environment when it starts, unless the user has chosen.

        Small jobs' data stay in hash tables. 5.x's default is shared memory, which saves clients from having a
        copy each; but setting it up takes longer than sending them all that there is of a small job
        (`bench/launch.py`: by a quarter). 4.2's hash tables lose the session's id.

        Clients are not asked for munge's credentials: the gate knows whose they are. Where munge has gone and
        left its socket behind, libpmix would wait for it 2 s.

        From 6.0 on libpmix compresses what fences move, where it has zlib. It does not pay: docs/scale.md.
        """
        wanted = {_SECURITY: "native"}
        if self._library.version >= (6, 0):
            wanted[_COMPRESSED] = str(1 << 40)  # bytes from which on
        if self._job.size * len(self.ranks) <= _SMALL and self._library.version >= (5, 0, 0):
            wanted[_DATASTORE] = "hash"
        fresh = {name: value for name, value in wanted.items() if name not in os.environ}
        os.environ.update(fresh)
        try:
            yield
        finally:
            for name in fresh:
                del os.environ[name]

    @property
    def _directory(self) -> str:
        return self._site.tmpdir if self._site.keeper is None else self._site.keeper.directory

    def _server_directives(self) -> dict[str, Any]:
        site, tmpdir = self._site, self._directory
        return {
            attributes.SERVER_NSPACE: self.identity.nspace,
            attributes.SERVER_RANK: self.identity.rank,
            attributes.SERVER_TMPDIR: tmpdir,
            attributes.SYSTEM_TMPDIR: tmpdir,
            attributes.HOSTNAME: self._job.nodes[site.shell_rank].hostname,
            attributes.NODEID: self._job.nodes[site.shell_rank].id,
            attributes.IOF_LOCAL_OUTPUT: False,
            attributes.SERVER_SHARE_TOPOLOGY: True,  # or every client would discover it again
            # Rendezvous files in `tmpdir`: of the session, by process id, by the server's namespace. They say the job,
            # and a server that is kept is not one job's.
            attributes.SERVER_TOOL_SUPPORT: site.keeper is None,
            attributes.SERVER_SESSION_SUPPORT: site.keeper is None,
            attributes.SERVER_ALLOW_FOREIGN_TOOLS: False,  # or 5.x lets other users read `tmpdir`
            **site.server_directives,
        }

    def _facts(self, server: Server, job: Job, site: Site, nsdir: str, procdirs: Mapping[int, str]) -> LocalFacts:
        cpus = {rank: site.cpus.get(rank) for rank in procdirs}
        return LocalFacts(
            shell_rank=site.shell_rank,
            server=self.identity,
            tmpdir=site.tmpdir,
            nsdir=nsdir,
            procdirs=procdirs,
            topology_signature=site.topology_signature,
            cpus=cpus,
            localities={r: server.locality_string(c) if c else None for r, c in cpus.items()},
            cpusets={r: server.cpuset_string(c) if c else None for r, c in cpus.items()},
            packages=site.packages,
            node_map=server.generate_regex(_node_names(job)),
            proc_map=server.generate_ppn(_task_lists(job)),
            distances={r: server.gpu_distances(c, site.gpus) for r, c in cpus.items() if c} if site.gpus else {},
            answers_sets=self._library.version >= (5, 0),
        )


def _node_names(job: Job) -> str:
    """Return the nodes of a job as libpmix wants them: a spawned one may leave some without a process."""
    return ",".join(node.hostname for node in job.nodes if len(job.ranks(node.id)))


def _task_lists(job: Job) -> str:
    """Return the ranks on each of those nodes."""
    return ";".join(",".join(map(str, ranks)) for node in job.nodes if len(ranks := job.ranks(node.id)))
