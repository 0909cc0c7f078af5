"""Flux jobs that processes spawn with resources of their own: submitted, joined to the shells that are there, watched.

`plugin.py` has one `FluxJobs` at the first shell from the first such spawn on, and one at the first shell of each
such job. A spawned job's shells start as any job's do; before they start tasks, the first of them asks the first shell
of all what they join (`pmix-join`), and is told when all shells have heard of the job (`host/submission.py`). From then
on they are shells among the others, that Flux brings messages to (`mail.py`). Flux's own log of each job says how it
ends, another what it prints, which is shown with the first job's output (`joboutput.py`). A job that ends takes those
along that it has spawned, unless they were to be separate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from errno import ENOSYS

from fluxpmix.host import wire
from fluxpmix.host.effects import Launch, Level, Place, Submit, Welcome, Withdraw
from fluxpmix.host.publication import Refused
from fluxpmix.host.submission import Arrival
from fluxpmix.host.world import pack_nodes, unpack_nodes
from fluxpmix.job import jobid
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix.light import partial
from fluxpmix.pmix.status import Status
from fluxpmix.shell.flux import jobspec
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.handle import ANY_BROKER, Request, ShellError
from fluxpmix.shell.flux.joblog import JobLog
from fluxpmix.shell.flux.mail import Mail
from fluxpmix.shell.flux.resources import cores_of
from fluxpmix.shell.flux.service import JOIN, WELCOME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.shell.base import Driver
    from fluxpmix.shell.flux.joboutput import JobOutput
    from fluxpmix.shell.flux.options import Parent
    from fluxpmix.shell.flux.spawnedoutput import SpawnedOutput

_PATIENCE = 5.0  # seconds until it is said that a job waits
_HOLD = "pmix-jobs"
_SHOWN = "pmix-jobs-output"
_COMMAND = {126: Status.ERR_EXE_NOT_ACCESSIBLE, 127: Status.ERR_JOB_EXE_NOT_FOUND}


class _Child:
    """A job that was submitted from here."""

    __slots__ = (
        "ended",
        "id",
        "launch",
        "log",
        "output",
        "patience",
        "shown_by",
        "ticket",
        "timer",
        "unwanted",
        "wanted",
    )

    def __init__(self, ticket: int, wanted: Submit | None = None) -> None:
        self.ticket = ticket
        self.wanted = wanted  # None: somebody has started it to join
        self.output: JobOutput | None = None  # while it is shown
        self.shown_by: int | None = None  # the job with whose output it is shown; None: the first
        self.id = 0
        self.launch: Launch | None = None  # once it has joined
        self.log: JobLog | None = None
        self.patience: Any = None  # until it is said that it waits
        self.timer: Any = None  # until it is cancelled
        self.unwanted: str | None = None  # why it is to end
        self.ended = False


class FluxJobs:
    """The jobs that were submitted from here, and those that are joined."""

    def __init__(
        self,
        api: Shell,
        mail: Mail,
        driver: Driver,
        place: Place,
        pmix: Mapping[str, Any],
        lost: Callable[[int, str], None],
        own_task: Callable[[], int | None],
    ) -> None:
        """`place` is the first job's, `pmix` what its children must have of its settings, `lost(shell, reason)`
        hears of shells whose job has ended, `own_task` is `SpawnedOutput`'s.
        """
        self._api = api
        self._mail = mail
        self._driver = driver
        self._place = place
        self._pmix = pmix
        self._lost = lost
        self._own_task = own_task
        self._outputs: dict[int | None, SpawnedOutput] = {}  # where output is shown, by job; None: the first
        self._shown: set[JobOutput] = set()  # that has not ended
        self._children: dict[int, _Child] = {}  # by ticket
        self._logs: list[JobLog] = []
        grace = api.option("kill-timeout")
        self._grace = float(grace) if isinstance(grace, int | float) else 5.0
        self._closed = False
        self._comers = 0  # jobs that somebody has started to join

    @property
    def waits(self) -> bool:
        """Whether jobs run that were spawned from here, or their output is still to be shown."""
        launches = (child.launch for child in self._children.values())
        mine = (each for each in (*launches, *(output.launch for output in self._shown)) if each is not None)
        return any(not launch.separate for launch in mine)

    # -- jobs that are submitted ---------------------------------------------------------------------

    def submit(self, wanted: Submit) -> None:
        """Submit a job, if its like can ever be had while the asker's runs."""
        child = self._children[wanted.ticket] = _Child(wanted.ticket, wanted)
        try:
            shape = jobspec.Shape(
                sum(command.size for command in wanted.commands), wanted.resources, wanted.policy.per_node
            )
            parent = {"service": self._place.service, "broker": self._place.brokers[0], "ticket": wanted.ticket}
            info = self._api.info()
            given = info["jobspec"]["attributes"]["system"].get("shell", {}).get("options", {})
            options = jobspec.shell_options(given, {**self._pmix, "parent": parent})
            environment = self._api.environment()
            written = jobspec.of_spawn(
                shape, wanted.commands, wanted.policy, wanted.resources, wanted.wdir, environment, options
            )
            if wanted.holds and shape.nodes is not None and wanted.resources.cpus is None:
                written["resources"][0]["exclusive"] = True  # as flux alloc -N
        except Refused as error:
            self._fails(child, error.status, str(error))
            return
        self._api.call(
            b"resource.sched-status", 0, b"{}\0", partial(self._looked, child, shape, written, cores_of(info["R"]))
        )

    def _looked(
        self,
        child: _Child,
        shape: jobspec.Shape,
        written: dict[str, Any],
        own: dict[int, int],
        error: int,
        answer: bytes,
    ) -> None:
        """Submit, unless the instance without the asker's own cores is too small: Flux would wait for ever."""
        from json import dumps

        from fluxpmix.shell.flux.jsontext import loads

        if child.unwanted is not None or self._closed:
            self._forget(child)
            return
        if not error:
            found = loads(answer.rstrip(b"\0").decode())
            down = cores_of(found.get("down"))
            there = {rank: n - down.get(rank, 0) - own.get(rank, 0) for rank, n in cores_of(found.get("all")).items()}
            if not shape.fits(there.values()):
                why = f"{shape}: besides the job's own Flux has nodes of {', '.join(map(str, there.values()))} core(s)"
                self._fails(child, int(Status.ERR_OUT_OF_RESOURCE), why)
                return
        self._api.submit(dumps(written), partial(self._submitted, child))

    def _submitted(self, child: _Child, error: int, answer: bytes) -> None:
        from fluxpmix.shell.flux.jsontext import loads

        if error:
            text = answer.decode("utf-8", "replace") or os.strerror(error)
            self._fails(child, int(Status.ERR_JOB_ALLOC_FAILED), f"Flux takes no such job: {text}")
            return
        child.id = int(loads(answer.rstrip(b"\0").decode())["id"])
        if child.unwanted is not None or self._closed:
            self._cancel(child.id, child.unwanted or "its parent has ended")
        self._api.log(Level.DEBUG, f"submitted job {jobid.encode(child.id)} for PMIx_Spawn")
        child.log = JobLog(self._api, child.id, partial(self._ended, child))
        child.patience = self._api.timer(partial(self._slow, child))
        self._api.set_timer(child.patience, _PATIENCE)

    def _slow(self, child: _Child) -> None:
        """Say for whom a process waits in its PMIx_Spawn: Flux's queue may be long."""
        if child.launch is None and child.unwanted is None:
            name = jobid.encode(child.id)
            self._api.log(Level.NOTICE, f"job {name}, of PMIx_Spawn, waits for resources; flux cancel {name} ends that")

    def withdraw(self, unwanted: Withdraw) -> None:
        """End a job that nobody waits for."""
        if unwanted.ticket == 0:
            self._cancel(unwanted.job, unwanted.why)
            return
        child = self._children.get(unwanted.ticket)
        if child is not None and child.unwanted is None:
            child.unwanted = unwanted.why
            if child.id:
                self._cancel(child.id, unwanted.why)

    def join(self, request: Request) -> None:
        """The first shell of a job asks what its shells join: one that was submitted, or that somebody started."""
        ticket, number, nspace, service, brokers, nodes, text, apps = wire.decode(bytes(request.payload))
        request.respond()
        if ticket == 0:  # by hand
            self._comers += 1
            ticket = -self._comers
            comer = self._children[ticket] = _Child(ticket)
            comer.id = number
            comer.log = JobLog(self._api, number, partial(self._ended, comer))
            self._api.log(Level.DEBUG, f"job {jobid.encode(number)} joins")
        child = self._children.get(ticket)
        if child is None or child.id != number or child.launch is not None:
            self._api.complain(f"job {number} asks to join, and was not submitted from here")
            self._cancel(number, "the job that has spawned it does not know it")
            return
        arrival = Arrival(
            nspace,
            Place(number, service, brokers),
            unpack_nodes(nodes, 0),
            TaskMap.parse(text),
        )
        if ticket < 0:
            self._driver.came(ticket, arrival, apps)
        else:
            self._driver.joined(ticket, arrival)

    def welcome(self, joined: Welcome) -> None:
        """All shells know the job: tell its shells."""
        launch = joined.launch
        child = next((each for each in self._children.values() if launch.place and each.id == launch.place.job), None)
        if child is not None:
            child.launch = launch
            self._mail.peers.send(launch.base, WELCOME, (joined.world,))
            if not launch.separate:
                self._api.hold(_HOLD)
            if child.wanted is not None:
                self._show(child, launch, child.wanted)

    def _show(self, child: _Child, launch: Launch, wanted: Submit) -> None:
        """Have a job's output shown with that of its parent: of the first job, or of one that has come by itself."""
        from fluxpmix.shell.flux.joboutput import JobOutput
        from fluxpmix.shell.flux.spawnedoutput import SpawnedOutput

        directory = self._driver.host.directory
        shell = directory.shell_of(directory.number(launch.asker))
        for each in self._children.values():
            if each.launch is not None and each is not child and each.launch.base <= shell < len(each.launch.job.nodes):
                child.shown_by = each.id if each.wanted is None else each.shown_by
        target = self._outputs.get(child.shown_by)
        if target is None:
            target = self._outputs[child.shown_by] = SpawnedOutput(self._api, self._own_task, child.shown_by)
        child.output = JobOutput(self._api, launch, wanted.commands, wanted.streams, target, self._all_shown)
        self._shown.add(child.output)
        if not launch.separate:
            self._api.hold(_SHOWN)

    def _all_shown(self, output: JobOutput) -> None:
        self._shown.discard(output)
        if not output.launch.separate:
            self._api.release(_SHOWN)

    def _ended(self, child: _Child, status: int | None, kind: str, note: str) -> None:
        """A job that was submitted is over."""
        child.ended = True
        if child.unwanted is None:  # where the job was there, nobody waits for that any more
            answer = _COMMAND.get((status or 0) >> 8, _ANSWERS.get(kind, Status.ERR_JOB_FAILED_TO_LAUNCH))
            self._driver.withdrawn(child.ticket, int(answer), _why(child.id, status, note))
        if child.launch is not None:
            self._gone(child.launch)
            if not child.launch.separate:
                self._api.release(_HOLD)
        if child.output is not None:
            child.output.job_ended()
        self._forget(child)

    def _gone(self, launch: Launch) -> None:
        for shell in range(launch.base, len(launch.job.nodes)):
            self._lost(shell, f"job {launch.job.nspace} has ended")

    def _fails(self, child: _Child, status: int, why: str) -> None:
        self._forget(child)
        self._driver.withdrawn(child.ticket, status, why)

    def _forget(self, child: _Child) -> None:
        self._children.pop(child.ticket, None)
        for timer in (child.patience, child.timer):
            if timer is not None:
                self._api.stop_watching(timer)
        child.patience = child.timer = None

    # -- the other way round -------------------------------------------------------------------------

    def watch(self, job: int, shells: range, parent: bool) -> None:
        """As the first shell of a job that was spawned: hear of the end of another; with a `parent` this job ends."""

        def ended(_status: int | None, _kind: str, _note: str) -> None:
            name = jobid.encode(job)
            for shell in shells:
                self._lost(shell, f"job {name} has ended")
            if parent and not self._closed:
                self._api.end_job(f"job {name}, which has spawned this one, has ended", 143)

        self._logs.append(JobLog(self._api, job, ended))

    # -- ends ----------------------------------------------------------------------------------------

    def job_ended(self, first: int) -> None:
        """All processes of a job have ended: have those end that it has spawned, in a while."""
        for child in list(self._children.values()):
            launch = child.launch
            if launch is None or launch.parent_first != first or launch.separate or child.timer is not None:
                continue
            child.timer = self._api.timer(partial(self._cancel, child.id, "the job that has spawned it has ended"))
            self._api.set_timer(child.timer, self._grace)

    def close(self) -> None:
        """This shell leaves: no job stays that was to end with it."""
        self._closed = True
        for child in list(self._children.values()):
            separate = child.launch is not None and child.launch.separate
            if child.log is not None:
                child.log.stop()
            if child.id and not child.ended and not separate:
                self._cancel(child.id, "the job that has spawned it has ended")
            self._forget(child)
        for output in self._shown:
            output.stop()
        for log in self._logs:
            log.stop()

    def _cancel(self, job: int, why: str) -> None:
        from json import dumps

        request = {"id": job, "type": "cancel", "severity": 0, "note": why}
        self._api.send(b"job-manager.raise", ANY_BROKER, dumps(request).encode() + b"\0")


_ANSWERS = {"alloc": Status.ERR_OUT_OF_RESOURCE, "cancel": Status.ERR_JOB_CANCELED}


def ask(api: Shell, parent: Parent, arrival: Arrival, apps: tuple[tuple[Any, ...], ...]) -> None:
    """As the first shell of a job: ask what it joins; the answer is a message of its own. Raises `ShellError`.

    `apps` are the job's applications: argv, directory and size of each.
    """
    nodes = pack_nodes(arrival.nodes)
    place = arrival.place
    text = arrival.taskmap.encode("wrapped")
    question = (parent.ticket, place.job, arrival.nspace, place.service, place.brokers, nodes, text, apps)
    code, why = api.ask(f"{parent.service}.{JOIN}".encode(), parent.broker, wire.encode(question))
    if code:
        name = parent.service.rpartition("-")[2]
        text = why.decode("utf-8", "replace") or os.strerror(code)
        raise ShellError(f"job {name} cannot be joined: {_CANNOT.get(code, text)}")


_CANNOT = {ENOSYS: "it does not run, or has no PMIx of this version (-o pmi=pmix)"}


def _why(job: int, status: int | None, note: str) -> str:
    how = note or ("" if status is None else f"it ended with exit code {status >> 8 or 128 + (status & 0x7F)}")
    return f"job {jobid.encode(job)} that was submitted for it does not start: {how or 'it was never run'}"
