"""Templates in output names, environment values and command lines: `out.{{taskid}}`.

The tags are those of `flux run` ("Mustache templates" in its manual). Used by the command line to check
names before anything runs, and by job shells and the output writer to fill them in.
"""

from __future__ import annotations

from collections.abc import Mapping

from fluxpmix.job import jobid
from fluxpmix.pmix.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.job.model import Job

JOB_TAGS = ("id", "id.f58", "id.dec", "id.hex", "id.dothex", "jobid", "name", "nnodes", "size", "ntasks")
NODE_TAGS = ("node.id", "node.name", "node.ncores", "node.cores", "tmpdir")
TASK_TAGS = ("taskid", "task.id", "task.rank", "task.index", "task.localid")
TAGS = JOB_TAGS + NODE_TAGS + TASK_TAGS


class TemplateError(ValueError):
    """A template that cannot be read, or a tag that nothing fills."""


class Template(Record):
    """A parsed template: literal text and tags in turn, starting with (maybe empty) text."""

    text: str
    parts: tuple[str, ...]

    @property
    def tags(self) -> tuple[str, ...]:
        """The names of the tags, in order."""
        return self.parts[1::2]

    @property
    def per_task(self) -> bool:
        """Whether each task gets its own text."""
        return any(tag in TASK_TAGS for tag in self.tags)

    @property
    def per_node(self) -> bool:
        """Whether each node gets its own text (each task may too)."""
        return self.per_task or any(tag in NODE_TAGS for tag in self.tags)

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with every tag replaced. Raises TemplateError for a tag without a value."""
        filled = list(self.parts)
        for at in range(1, len(filled), 2):
            tag = filled[at]
            if tag not in values:
                raise TemplateError(f"template {self.text!r}: {{{{{tag}}}}} has no value here")
            filled[at] = values[tag]
        return "".join(filled)


def parse(text: str) -> Template:
    """Read a template in which every tag must be known, as in a file's name.

    Raises TemplateError that names the template, the tag, and the tags there are.
    """
    template = _split(text)
    for tag in template.tags:
        if tag not in TAGS:
            known = ", ".join(f"{{{{{each}}}}}" for each in TAGS)
            raise TemplateError(f"template {text!r}: no tag is called {{{{{tag}}}}}; there are {known}")
    return template


def fill_known(text: str, values: Mapping[str, str]) -> str:
    """Replace the tags that have a value and leave all else alone, as a command's own braces must be."""
    made: list[str] = []
    done = 0
    while (closing := text.find("}}", done)) >= 0:
        opening = text.rfind("{{", done, closing)  # the last: {{{name}}} has its tag inside
        tag = text[opening + 2 : closing] if opening >= 0 else ""
        if tag in values:
            made += (text[done:opening], values[tag])
            done = closing + 2
        else:
            made.append(text[done : closing + 1])
            done = closing + 1
    return "".join([*made, text[done:]])


def job_values(job: Job, name: str) -> dict[str, str]:
    """Return what fills `JOB_TAGS` for a job called `name`."""
    size, nnodes = str(job.taskmap.ntasks), str(len(job.nodes))
    values = {
        "id": job.jobid,
        "jobid": job.jobid,
        "name": name,
        "size": size,
        "ntasks": size,
        "nnodes": nnodes,
    }
    try:
        number = jobid.decode(job.jobid)
    except ValueError:  # a job that a Python program named itself
        encodings = dict.fromkeys(("f58", "dec", "hex", "dothex"), job.jobid)
    else:
        encodings = {"f58": job.jobid, "dec": str(number), "hex": hex(number), "dothex": jobid.dothex(number)}
    values.update((f"id.{form}", text) for form, text in encodings.items())
    return values


def node_values(job: Job, nodeid: int, tmpdir: str, cores: str | None = None) -> dict[str, str]:
    """Return what fills `NODE_TAGS` on one node; `cores` are those of the node, as an idset."""
    node = job.nodes[nodeid]
    ncores = str(node.cores)
    shown = cores if cores is not None else ("0" if node.cores == 1 else f"0-{node.cores - 1}")
    return {
        "node.id": str(nodeid),
        "node.name": node.hostname,
        "node.ncores": ncores,
        "node.cores": shown,
        "tmpdir": tmpdir,
    }


def task_values(rank: int, local_rank: int) -> dict[str, str]:
    """Return what fills `TASK_TAGS` for one task."""
    id_, index = str(rank), str(local_rank)
    return {"taskid": id_, "task.id": id_, "task.rank": id_, "task.index": index, "task.localid": index}


def _split(text: str) -> Template:
    parts: list[str] = []
    rest = text
    while True:
        before, opening, rest = rest.partition("{{")
        parts.append(before)
        if not opening:
            return Template(text, tuple(parts))
        tag, closing, rest = rest.partition("}}")
        if not closing:
            raise TemplateError(f"template {text!r}: '{{{{{tag}' is not closed; write {{{{taskid}}}}")
        parts.append(tag)
