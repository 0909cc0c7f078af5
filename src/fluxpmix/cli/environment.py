"""The environment that tasks start with: this process's own, less what an outer launcher left in it,
changed by the rules of `--env`, `--env-remove` and `--env-file` in the order given.

The rules are `flux run`'s (its manual, "Environment"). What belongs to a single task (its rank, its PMIx
variables) is added by the job shell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from fluxpmix.cli.errors import CommandError, UsageError

# Variables of a launcher around us. A task that inherits them believes that it belongs to the outer job
# and looks for that job's PMIx or PMI server. Settings that a person makes (PMIX_MCA_*, PRTE_MCA_*) stay.
_OUTER_PREFIXES = ("PMIX_", "PMI_", "PMI2_", "PRTE_", "OMPI_COMM_WORLD_", "OMPI_MCA_orte_", "OMPI_MCA_ess")
_OUTER_NAMES = frozenset(
    [
        "OMPI_UNIVERSE_SIZE",
        "OMPI_COMMAND",
        "OMPI_ARGV",
        "OMPI_NUM_APP_CTX",
        "OMPI_FIRST_RANKS",
        "OMPI_APP_CTX_NUM_PROCS",
        "OMPI_FILE_LOCATION",
        "OMPI_MCA_initial_wdir",
        "OMPI_MCA_num_procs",
        "OMPI_MCA_shmem_RUNTIME_QUERY_hint",
        "FLUX_JOB_ID",
        "FLUX_JOB_ID_PATH",
        "FLUX_JOB_SIZE",
        "FLUX_JOB_NNODES",
        "FLUX_JOB_TMPDIR",
        "FLUX_KVS_NAMESPACE",
        "FLUX_PMI_LIBRARY_PATH",
        "FLUX_TASK_RANK",
        "FLUX_TASK_LOCAL_ID",
    ]
)
_KEPT_PREFIXES = ("PMIX_MCA_", "PRTE_MCA_", "PMIX_PREFIX", "PMIX_INSTALL_PREFIX", "PMIX_EXEC_PREFIX")
_DEEPEST = 16  # files that read files: more is a loop


def build(inherited: Mapping[str, str], rules: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return a task's environment, and the names in it whose values hold templates to be filled.

    A rule is `-PATTERN`, `^FILE`, `VAR=VALUE` or `PATTERN`. Only values that a rule set are templates:
    what is inherited may hold braces of its own. Raises UsageError for a rule that cannot be read,
    CommandError for a file that cannot or for a variable that is not set.
    """
    outer = {name: value for name, value in inherited.items() if not is_outer(name)}
    made = dict(outer)
    templates: set[str] = set()
    for rule in rules:
        _apply(rule, made, outer, templates, 0)
    # Debian's Open MPI 4.1 joins a job only under a launcher whose name it knows; it knows Flux.
    # Open MPI 5 has no such framework in a task and never reads this.
    made.setdefault("OMPI_MCA_schizo", "flux")
    return made, tuple(sorted(name for name in templates if "{{" in made.get(name, "")))


def is_outer(name: str) -> bool:
    """Whether a variable belongs to a launcher around us and says nothing true about this job."""
    if name in _OUTER_NAMES:
        return True
    return name.startswith(_OUTER_PREFIXES) and not name.startswith(_KEPT_PREFIXES)


def _apply(rule: str, made: dict[str, str], outer: Mapping[str, str], templates: set[str], depth: int) -> None:
    if rule.startswith("-"):
        matches = _matcher(rule[1:], rule)
        for name in [name for name in made if matches(name)]:
            del made[name]
            templates.discard(name)
    elif rule.startswith("^"):
        for line in _lines(rule[1:], depth):
            _apply(line, made, outer, templates, depth + 1)
    elif "=" in rule and not rule.startswith("/"):
        name, _, value = rule.partition("=")
        if not name or "\0" in rule:
            raise UsageError(f"--env {rule!r}: a name is expected before '=', as in --env=NAME=VALUE")
        made[name] = _substitute(value, made, outer, rule)
        templates.add(name)
    else:
        matches = _matcher(rule, rule)
        for name, value in outer.items():
            if matches(name):
                made.setdefault(name, value)


def _lines(path: str, depth: int) -> list[str]:
    import os

    if depth >= _DEEPEST:
        raise CommandError(f"--env-file {path!r}: files name each other {_DEEPEST} deep; is this a loop?")
    try:
        with open(os.path.expanduser(path), encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise CommandError(f"--env-file {path!r}: {error.strerror}; name a file of rules, one on a line") from None
    return [line for line in lines if line and not line.startswith("#")]


def _matcher(pattern: str, rule: str) -> Callable[[str], bool]:
    """Return the test of a name: a regular expression after a slash, else a shell pattern."""
    if pattern.startswith("/"):
        import re

        body = pattern[1:-1] if pattern.endswith("/") and len(pattern) > 1 else pattern[1:]
        try:
            return lambda name, found=re.compile(body).match: bool(found(name))  # type: ignore[misc]
        except re.error as error:
            raise UsageError(f"--env {rule!r}: bad regular expression: {error}; --env=PREFIX* needs none") from None
    if not pattern:
        raise UsageError(f"--env {rule!r}: a pattern is expected, e.g. --env='-LD_*' or --env=PATH")
    # Nearly every pattern is a name or a prefix; fnmatch (and re, 6 ms) only for the others.
    if not set(pattern) & set("*?["):
        return pattern.__eq__
    if pattern.endswith("*") and not set(pattern[:-1]) & set("*?["):
        return lambda name: name.startswith(pattern[:-1])
    from fnmatch import fnmatchcase

    return lambda name: fnmatchcase(name, pattern)


def _substitute(value: str, made: Mapping[str, str], outer: Mapping[str, str], rule: str) -> str:
    """Replace `$NAME` and `${NAME}` from the environment made so far, then our own; `$$` is a dollar."""
    parts = value.split("$")
    text = parts[0]
    at = 1
    while at < len(parts):
        part = parts[at]
        if not part and at + 1 < len(parts):  # "$$"
            text += "$" + parts[at + 1]
            at += 2
            continue
        name, rest = _variable(part)
        if not name:
            raise UsageError(f"--env {rule!r}: '${part}' names no variable; write $NAME, ${{NAME}} or $$")
        found = made.get(name, outer.get(name))
        if found is None:
            raise CommandError(f"--env {rule!r}: {name} is not set; set it first, or write $$ for a dollar")
        text += found + rest
        at += 1
    return text


def _variable(text: str) -> tuple[str, str]:
    """Split what follows a dollar into the variable's name (empty: none) and the rest."""
    if text.startswith("{"):
        name, closing, rest = text[1:].partition("}")
        return (name, rest) if closing and name.isidentifier() else ("", text)
    end = 0
    while end < len(text) and text[end].isascii() and (text[end].isalnum() or text[end] == "_"):
        end += 1
    name = text[:end]
    return (name, text[end:]) if name.isidentifier() else ("", text)
