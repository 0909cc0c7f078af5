"""The bootstrap of a Flux instance over PMIx: who I am, put, get and barrier, on a `Client`.

What a broker looks for of the job is set by Flux as a launcher; of the others, the task map is made from
what every PMIx server provides: each rank's node, or the nodes' names and the processes on each. A key that
is not there is answered at once, never waited for. Standard 4.2, chapters 4 to 6; Flux RFC 13 and 34.
"""

from __future__ import annotations

import os

from fluxpmix.pmix import attributes
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.library import LibraryError, load
from fluxpmix.pmix.status import PmixError, PmixNotFound
from fluxpmix.pmix.types import Proc, Scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.job.taskmap import TaskMap
    from fluxpmix.pmix.types import Directives

JOB_LEVEL = -1  # the rank that a key of the whole job has in Flux
_MAPS = {"flux.taskmap": "wrapped", "PMI_process_mapping": "pmi"}
_AT_HAND: Directives = {attributes.OPTIONAL: True}  # the server has sent it already, or there is none
_AT_SERVER: Directives = {attributes.IMMEDIATE: True}


class BootstrapError(Exception):
    """A step of the bootstrap fails; the text says why."""


class Bootstrap:
    """This process among those that bootstrap together. `libpmix` is a path, None for the one that is found."""

    def __init__(self, libpmix: str | None = None) -> None:
        try:
            self._client = Client(load(libpmix))
        except (LibraryError, PmixError) as error:
            raise BootstrapError(f"cannot connect to the PMIx server: {error}") from None
        self._waiting = False  # whether something was put since the last barrier
        self._map: TaskMap | None = None
        self.rank = self._client.proc.rank
        self.name = self._client.proc.nspace
        try:
            self.size = int(self._client.get(attributes.JOB_SIZE, self._client.job, _AT_HAND))
        except PmixError as error:
            self.finalize()
            raise BootstrapError(f"the PMIx server does not tell the size of the job: {error}") from None

    def put(self, key: str, value: str) -> None:
        """Set a value for all to get, from the next barrier on. Raises `BootstrapError`."""
        try:
            self._client.put(Scope.GLOBAL, key, value)
        except (PmixError, ValueError) as error:
            raise BootstrapError(f"cannot put {key}: {error}") from None
        self._waiting = True

    def get(self, key: str, rank: int) -> str:
        """Return what `rank` has put, or the job's own value (JOB_LEVEL). Raises `BootstrapError`."""
        try:
            if rank != JOB_LEVEL:
                return self._text(key, Proc(self.name, rank), _AT_SERVER)
            return self._text(key, self._client.job, _AT_HAND)
        except PmixNotFound:
            if rank == JOB_LEVEL and key in _MAPS:
                return self._task_map().encode(_MAPS[key])
            whose = "" if rank == JOB_LEVEL else f" by rank {rank}"
            raise BootstrapError(f"{key}: not set{whose}") from None
        except (PmixError, ValueError) as error:
            raise BootstrapError(f"cannot get {key}: {error}") from None

    def barrier(self) -> None:
        """Wait for all, and bring everybody what was put. Raises `BootstrapError`."""
        try:
            if self._waiting:
                self._client.commit()
            self._client.fence(collect=True)
        except PmixError as error:
            raise BootstrapError(f"the barrier fails: {error}") from None
        self._waiting = False

    def abort(self, message: str) -> None:
        """Have the launcher end the job. Raises `BootstrapError`."""
        try:
            self._client.abort(1, message)
        except PmixError as error:
            raise BootstrapError(f"cannot abort the job: {error}") from None

    def finalize(self) -> None:
        """Leave the server, and forget that there was one: what this process starts is no client of it."""
        try:
            self._client.finalize()
        except PmixError as error:
            raise BootstrapError(f"cannot leave the PMIx server: {error}") from None
        finally:
            for name in [name for name in os.environ if name.startswith("PMIX_")]:
                del os.environ[name]

    # -- inside ----------------------------------------------------------------------------------

    def _text(self, key: str, proc: Proc, directives: Directives) -> str:
        value = self._client.get(key, proc, directives)
        if isinstance(value, (str, int, float)):
            return str(value)
        raise ValueError(f"its value is no text but {type(value).__name__}")

    def _task_map(self) -> TaskMap:
        if self._map is None:
            try:
                self._map = self._map_of_ranks()
            except PmixError:
                self._map = self._map_of_nodes()
        return self._map

    def _map_of_ranks(self) -> TaskMap:
        """Return the map that each rank's node id and host name make; a job may be on other nodes than the first.

        Neither does alone: under Slurm libpmix 5.0 gives the own node's id for every rank, and emulated
        nodes may share a host's name.
        """
        from fluxpmix.job.taskmap import TaskMap  # late: most launchers tell the map

        places = [self._place(Proc(self.name, rank)) for rank in range(self.size)]
        first = {place: rank for rank, place in reversed(list(enumerate(places)))}
        nodes = sorted(first, key=lambda place: (place[0], first[place]))
        index = {place: number for number, place in enumerate(nodes)}
        return TaskMap.nodes(index[place] for place in places)

    def _place(self, proc: Proc) -> tuple[int, str]:
        node = int(self._client.get(attributes.NODEID, proc, _AT_HAND))
        try:
            return node, str(self._client.get(attributes.HOSTNAME, proc, _AT_HAND))
        except PmixNotFound:
            return node, ""

    def _map_of_nodes(self) -> TaskMap:
        """Return the map that the nodes' names and the processes on each make."""
        from fluxpmix.job.taskmap import TaskMap

        place: dict[int, int] = {}
        try:
            for number, node in enumerate(self._client.resolve_nodes(self.name)):
                place.update((proc.rank, number) for proc in self._client.resolve_peers(node, self.name))
        except PmixError as error:
            raise BootstrapError(f"the PMIx server does not tell where each rank is: {error}") from None
        if sorted(place) != list(range(self.size)):
            raise BootstrapError("the PMIx server does not tell where each rank is")
        return TaskMap.nodes(place[rank] for rank in range(self.size))
