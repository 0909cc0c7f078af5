"""The Flux shell plugin: the topics of the real flux-shell at which what happens. `carrying.py` is its `Carrier`.

`plugin.c` calls `load` where a job has the shell option pmi=pmix. Topics (flux-shell-plugins(7)):

- shell.init: the job is known, its directory is there; start the server (shell 0: register the job too)
- shell.post-init: all shells are there; shell 0 sends its part of the set-up, the others register
- task.init, task.fork, task.exit: a task's environment, its process, its end
- shell.finish: this shell's tasks have ended; it stays until all have (`service.Leaving`)
- shell.lost: shell 0 is told who is gone, and tells the others
- shell.resource-update: R, and with it the job's time limit, has changed
- shell.exit: stop the server, and remove what killed shells have left

Never task.exec (but `supervisor.c`): it runs in the forked child, where nobody may hold Python's lock. Threads
(libpmix's own) start in shell.init and not before, all signals blocked: they are flux-shell's, which reads them itself.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from errno import EINVAL

from fluxpmix.host.effects import Buffer, Level, Place
from fluxpmix.host.sized import Appetite
from fluxpmix.job.model import EXEC, new_credential
from fluxpmix.pmix import library
from fluxpmix.pmix.light import partial
from fluxpmix.pmix.record import replace
from fluxpmix.shell.base import Driver
from fluxpmix.shell.flux import joining, resources
from fluxpmix.shell.flux import site as sites
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.carrying import ShellCarrier, input_of
from fluxpmix.shell.flux.exits import Exits
from fluxpmix.shell.flux.handle import Request, ShellError, Wake
from fluxpmix.shell.flux.joining import Facts
from fluxpmix.shell.flux.leftovers import Hold
from fluxpmix.shell.flux.mail import Mail
from fluxpmix.shell.flux.options import JOB, Options, Parent
from fluxpmix.shell.flux.service import JOIN, SETUP, Leaving
from fluxpmix.shell.local.guard import Guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.host.world import World
    from fluxpmix.shell.server import Site

NO_RESTARTS = "a job's tasks can be restarted where it is started with -o pmix.restarts"
_PATIENCE = 60.0  # seconds for the first shell's part of the set-up
_CREDENTIAL = 64  # characters
_plugins: list[Plugin] = []  # for ever: C holds on to them


def load(ffi: Any, lib: Any, plugin: Any, since: float) -> int:
    """Register for the topics; called once, when flux-shell loads the plugin."""
    _plugins.append(Plugin(Shell(ffi, lib, plugin), since))
    return 0


class Plugin(ShellCarrier):
    """One shell's PMIx."""

    def __init__(self, api: Shell, since: float) -> None:
        """`since` is when our part of the shell's start began (`monotonic`)."""
        super().__init__(api)
        self._since = since
        self._trace: str | None = None  # the file, where one is wanted
        self._tracing = False
        self._started = False  # whether tasks run: before, an error ends the job
        self._exits: Exits | None = None
        self._hold: Hold | None = None
        self._setup = b""  # of shell 0, until the others have it
        self._credential = ""
        api.on_error = self._failed
        for topic, call in (
            ("shell.init", self._init),
            ("shell.post-init", self._post_init),
            ("task.init", self._task_init),
            ("task.fork", self._task_fork),
            ("shell.start", self._start),
            ("task.exit", self._task_exit),
            ("shell.finish", self._finish),
            ("shell.lost", self._lost),
            ("shell.resource-update", self._resources_changed),
            ("shell.exit", self._exit),
        ):
            api.on_topic(topic, call)

    # -- topics ------------------------------------------------------------------------------------

    def _init(self, _arguments: Any) -> None:
        api = self._api
        info = api.info()
        self.rank, self.size = info["rank"], info["size"]
        self._own_rank = self.rank
        self._tracing = api.option("verbose") in (2, 3)
        options = Options.read(api.option)
        hosts = resources.hosts(info["R"])
        job = resources.job_of(
            info,
            api.jobspec_info(),
            resources.task_map(api.task_map()),
            hosts,
            credential=new_credential(),
            model=options.model,
            psets=options.pset,
        )
        found = library.load(options.libpmix or api.getenv(library.ENVIRONMENT_VARIABLE))
        brokers = tuple(host.broker for host in hosts)
        _, _, service = str(info["service"]).rpartition("/")
        place = Place(info["jobid"], service, brokers)
        self._exits = Exits(api, self._task_gone)
        if options.restarts:
            self._supervise()
        self._wake = Wake(api, self._exits.look if self._supervised is None else self._supervised.look)
        laterally = options.exchange != "tree"
        self._mail = Mail(api, self.rank, brokers, service, laterally, self._receive, self._lost_from_others)
        if self.rank == 0:
            api.serve(self._mail.peers.topic(JOIN), self._asked_to_join)
        self._leaving = Leaving(api, self._mail.peers, self.rank, brokers, self._own_shell_lost)
        xml = api.topology()
        stop = EXEC if api.option("stop-tasks-in-exec") else options.stop
        # Any process of the owner's: one that a container engine starts is not below this shell.
        guard = Guard(self._refused, version=found.version, by_process=False)
        site = sites.make(api, job, self.rank, hosts[self.rank], xml, stop, guard)
        self._hold = Hold(site.tmpdir)
        fanout = options.fanout or resources.fanout(self._overlay())
        make = partial(
            self._make_driver(options),
            carrier=self,
            library=found,
            fanout=fanout,
            exchange=options.exchange,
            appetite=Appetite(possible=_can_link),
            timeout=options.timeout,
            ends_at=self._limit.ends_at(),
            alert=options.alert,
            stop=stop,
            output=self._output,
            sees_all_output=True,
            oversubscribe=options.oversubscribe,
            enquire=self._enquire,
            place=place,
            spawn_jobs=options.spawn == JOB,
            no_restarts="" if options.restarts else NO_RESTARTS,
            holds=options.restarts,
        )
        self._timer = api.timer(self._timer_ended)
        parent = options.parent
        if options.join is not None:
            parent = joining.find(api, options.join, service) if self.rank == 0 else Parent("", 0, 0)
        self._facts = Facts(api, self._mail, job, place, site, xml, fanout, parent, make)
        self._ranks = tuple(job.ranks(self.rank))
        if parent is not None:
            return  # which shells this one joins is known when all of the job's are there
        driver = self._open(make(job=job, site=site), site, xml)
        if self.rank == 0:
            self._credential = job.credential
            driver.open_job(job.credential)
            self._setup = driver.setup_application()
        if self._tracing:
            self.log(Level.TRACE, f"server of libpmix {found.version_text} ({found.path}) for {job.nspace}")

    def _open(self, driver: Driver, site: Site, xml: str) -> Driver:
        with sites.given_topology(site.tmpdir, xml):
            driver.open_server()
        self._driver = driver
        return driver

    def _post_init(self, _arguments: Any) -> None:
        facts = self._live_facts()
        peers = facts.mail.peers
        if facts.parent is not None:
            self._joined(facts.join(self._own_rank, _PATIENCE), facts)
        else:
            driver = self._live()
            if self.rank == 0:
                for shell in range(1, self.size):
                    peers.send(shell, SETUP, (self._credential.encode(), self._setup))
            else:
                word = peers.wait_for(SETUP, _PATIENCE)
                driver.open_job(bytes(word[:_CREDENTIAL]).decode())
                self._setup = bytes(word[_CREDENTIAL:])
            driver.setup_local_support(self._setup)
        self._setup = b""
        gc.freeze()  # what there is stays: nobody need look through it
        gc.enable()

    def _joined(self, world: World, facts: Facts) -> None:
        """The job is one that was spawned, or has come to join another: be a shell among the others."""
        launch = world.own
        self.rank, self._first = launch.base + self._own_rank, launch.first
        site = replace(facts.site, shell_rank=self.rank)
        fanout, exchange = world.moves
        made = facts.make(job=launch.job, site=site, world=world, fanout=fanout, exchange=exchange)
        driver = self._open(made, site, facts.xml)
        driver.open_job(launch.job.credential)
        driver.setup_local_support(world.packed)
        self._lost_shells.update(world.lost)
        facts.mail.peers.begin()
        if self._own_rank == 0:
            others = [(world.place, 0, 0, world.root)]
            others += [(each.place, each.base, each.first, each.job) for each in world.launches[:-1] if each.place]
            for place, base, first, job in others:
                if base in world.lost:
                    continue
                parent = first == launch.parent_first and not launch.separate
                self.jobs.watch(place.job, range(base, len(job.nodes)), parent)

    def _task_init(self, _arguments: Any) -> None:
        task = self._api.current_task()
        self._api.set_variables(task, dict(self._live().task_environment(self._first + task.rank)))

    def _task_fork(self, _arguments: Any) -> None:
        task = self._api.current_task()
        if task.pid is not None and self._supervised is not None:
            self._supervised.expect(task.rank, task.pid)
            self._ends[task.rank] = task.pid, input_of(task.pid)  # that of the program, whichever it is
        elif task.pid is not None:
            self._live().task_started(self._first + task.rank, task.pid)
            if self._exits is not None:
                self._exits.watch(task.rank, task.pid)
            self._ends[task.rank] = task.pid, input_of(task.pid)  # before it may close that
            if self._tracing:
                self.log(Level.TRACE, f"task {task.rank} is process {task.pid}")

    def _start(self, _arguments: Any) -> None:
        self._started = True
        if self._first:  # it was spawned
            self._live().all_started()

    def _task_exit(self, _arguments: Any) -> None:
        task = self._api.current_task()
        self._exited.add(task.rank)
        if task.wait_status is not None:
            self._task_gone(task.rank, task.wait_status)

    def _finish(self, _arguments: Any) -> None:
        if self._listening is not None:
            self._listening.hold()
        if self._driver is not None:
            self._driver.send_trace()
        if self._leaving is not None:
            self._leaving.finished()

    def _lost(self, arguments: Any) -> None:
        shell = self._api.arguments(arguments).get("shell_rank")
        if isinstance(shell, int) and 0 <= shell < self.size and shell != self._own_rank:
            self._own_shell_lost(shell, "Flux has lost it")

    def _resources_changed(self, _arguments: Any) -> None:
        if self._driver is not None:
            self._driver.time_limit(self._limit.ends_at())

    def _exit(self, _arguments: Any) -> None:
        if self._leaving is not None:
            self._leaving.close()
        if self._listening is not None:
            self._listening.close()
        if self._inputs is not None:
            self._inputs.close()
        if self._spawned is not None:
            self._spawned.close()
        if self._jobs is not None:
            self._jobs.close()
        driver, self._driver = self._driver, None
        if driver is not None:
            if self._tracing:
                self.log(Level.TRACE, f"done: {driver.host.counters}")
            driver.close()
            if self._trace is not None and self._own_rank == 0:
                from fluxpmix.shell.flux import traced

                traced.write(self._api, self._trace, driver, self.size)
        if self._hold is not None:
            self._hold.release()
            for directory in self._hold.sweep():
                self.log(Level.DEBUG, f"removed what a killed shell had left in {directory}")
            self._hold = None
        if self._mail is not None:
            self._mail.close()
        if self._exits is not None:
            self._exits.close()
        if self._supervised is not None:
            self._supervised.close()
        if self._wake is not None:
            self._wake.close()
        if self._timer is not None:
            self._api.stop_watching(self._timer)
            self._timer = None

    def _make_driver(self, options: Options) -> Callable[..., Driver]:
        """Return what makes a driver: one that records, where a trace is wanted."""
        if options.trace is None:
            return Driver
        from fluxpmix.shell.flux import traced

        self._trace = os.path.abspath(options.trace)
        if self._own_rank == 0:
            traced.check(options.trace)
        return traced.driver(self._since)

    def _supervise(self) -> None:
        """Have processes stand in front of tasks: these can then be started again."""
        from fluxpmix.shell.flux.supervised import Supervised

        api = self._api
        if api.option("stop-tasks-in-exec"):
            raise ShellError("-o pmix.restarts and -o stop-tasks-in-exec do not go together: leave one of them out")
        goes_on = api.option("exit-timeout") == "none" and not api.option("exit-on-error")
        self._supervised = Supervised(api, self._task_runs, self._task_gone, goes_on)

    def _task_runs(self, rank: int, pid: int) -> None:
        self._live().task_started(self._first + rank, pid)

    def _task_gone(self, rank: int, wait_status: int) -> None:
        if rank not in self._ended and self._driver is not None:
            self._ended.add(rank)
            self._driver.task_exited(self._first + rank, wait_status)

    # -- messages ----------------------------------------------------------------------------------

    def _receive(self, shell: int, frame: Buffer) -> None:
        if self._driver is not None:
            self._driver.receive(shell, frame)

    def _lost_from_others(self, shell: int, reason: str) -> None:
        if self._driver is not None:
            self._driver.shell_lost(shell, reason)

    def _overlay(self) -> str | None:
        """Return the shape of Flux's overlay, where the job is so large that it matters."""
        return self._api.attribute("tbon.topo") if self.size > 3 else None

    def _own_shell_lost(self, shell: int, reason: str) -> None:
        """Give up a shell of this job."""
        if self._leaving is not None:
            self._leaving.shell_lost(shell)
        self._shell_lost(self.rank - self._own_rank + shell, reason)

    def _asked_to_join(self, request: Request) -> None:
        """A job that was spawned is up, or one that somebody has started to join this one."""
        if self._driver is None or not self._driver.host.decides:
            request.refuse(EINVAL, "it has joined another job itself, which still runs: name that one")
        else:
            self.jobs.join(request)

    # -- inside ------------------------------------------------------------------------------------

    def _refused(self, message: str) -> None:
        self.post(partial(self.log, Level.WARNING, message))

    def _failed(self, error: BaseException) -> None:
        """Take an exception of a topic or a callback: before the tasks run it ends the job, then it is a line."""
        known = (ShellError, library.LibraryError, ValueError, OSError)
        text = str(error) if isinstance(error, known) else f"{type(error).__name__}: {error}"
        if os.environ.get("FLUXPMIX_DEBUG"):
            from traceback import format_exception

            for line in "".join(format_exception(error)).splitlines():
                self.log(Level.ERROR, line)
        if self._started:
            self.log(Level.ERROR, text)
        else:
            self._api.end_job(f"pmix: {text}", 1)


def _can_link() -> bool:
    """Whether there is what links prove themselves with: `cryptography`, an optional dependency."""
    from importlib.machinery import PathFinder

    return PathFinder.find_spec("cryptography") is not None
