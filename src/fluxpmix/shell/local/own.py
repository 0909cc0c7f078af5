"""The tasks that a job starts with, in their shells: their arguments, environments, standard input and CPUs.

`shell.py` makes an `OwnTasks` when its PMIx server is ready. The tags of `flux run`'s templates are filled in
here, as each task has its own values of them. Tasks that come later are `spawned.py`'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from fluxpmix.job import template
from fluxpmix.shell.local import input, machine
from fluxpmix.shell.local.request import LaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.local.shell import Plan
    from fluxpmix.shell.local.spawned import Run


class OwnTasks:
    """Those of one shell."""

    def __init__(
        self, plan: Plan, shell: int, directory: str, bindings: Mapping[int, Sequence[int]], inputs: input.Inputs
    ) -> None:
        """`bindings` has the CPUs of each rank; `inputs` feeds those that read what the launcher reads."""
        self._plan = plan
        self._request = plan.request
        self._job = plan.request.job
        self._shell = shell
        self._directory = directory
        self._bindings = bindings
        self._inputs = inputs

    def start(self, variables: Callable[[int], Mapping[str, str]], run: Run) -> None:
        """Start them all with `run`; `variables(rank)` is what the PMIx server adds to an environment.

        Raises `LaunchError`, `PmixError`, `OSError` and `TemplateError`; some may run then.
        """
        for local_rank, rank in enumerate(self._job.ranks(self._shell)):
            self._start(rank, local_rank, variables(rank), run, self._inputs.add)

    def restart(self, rank: int, variables: Mapping[str, str], run: Run) -> None:
        """Start one of them again; raises what `start` does."""
        local_rank = list(self._job.ranks(self._shell)).index(rank)
        self._start(rank, local_rank, variables, run, self._inputs.add_again)

    def _start(
        self, rank: int, local_rank: int, variables: Mapping[str, str], run: Run, feed: Callable[[int], int]
    ) -> None:
        app = self._job.app_of(rank)
        env = self._environment(app.index, rank, local_rank)
        env |= variables
        argv = self._fill(app.argv, rank, local_rank)
        stdin = self._open_input(rank, local_rank, feed)
        cpus = None if self._request.cpu_affinity == "off" else self._bindings[rank]
        run(rank, self._plan.paths[app.index], argv, env, app.wdir, stdin, cpus)

    def _environment(self, app: int, rank: int, local_rank: int) -> dict[str, str]:
        request, job = self._request, self._job
        env = dict(request.environments[app])
        templates = request.environment_templates[app] if request.environment_templates else ()
        env |= zip(templates, self._fill([env[name] for name in templates], rank, local_rank), strict=True)
        env |= {
            "FLUX_TASK_RANK": str(rank),
            "FLUX_TASK_LOCAL_ID": str(local_rank),
            "FLUX_JOB_SIZE": str(job.size),
            "FLUX_JOB_NNODES": str(len(job.nodes)),
            "FLUX_JOB_TMPDIR": self._directory,
        }
        machine.help_emulated(env, job, self._directory)
        return env

    def _fill(self, texts: Sequence[str], rank: int, local_rank: int) -> list[str]:
        """Fill in the tags of a task's texts; most have none, and no values are made for them."""
        if not any("{{" in text for text in texts):
            return list(texts)
        values = self._values(rank, local_rank)
        return [template.fill_known(text, values) for text in texts]

    def _values(self, rank: int, local_rank: int) -> Mapping[str, str]:
        job = self._job
        return {
            **template.job_values(job, self._request.name),
            **template.node_values(job, self._shell, self._directory),
            **template.task_values(rank, local_rank),
        }

    def _open_input(self, rank: int, local_rank: int, feed: Callable[[int], int]) -> int:
        how = self._plan.input
        if how.kind == "file":
            path = template.parse(how.path).fill(self._values(rank, local_rank))
            try:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise LaunchError(
                    f"--input {path!r}: {error.strerror}; name a file that task {rank} can read"
                ) from None
        if how.kind == "none" or not how.wants(rank):
            return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return input.reopen(how.offset) if how.kind == "reopen" else feed(rank)
