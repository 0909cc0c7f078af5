"""What `flux-pmix run` says inside a Flux instance: the same job as `flux run` would start it.

Flux has schedulers, nodes and the right to say who runs where; a launcher beside it would be in its way.
"""

from __future__ import annotations

from fluxpmix.cli.errors import CommandError
from fluxpmix.cli.run_options import RunOptions

# Shell options that only this launcher has, and pmi, which goes first.
_OURS = frozenset(("pmi", "oversubscribe", "libpmix", "security"))


def refusal(options: RunOptions) -> CommandError:
    """Return the error that says how to start `options` under Flux."""
    if len(options.apps) > 1:
        how = "flux run -o pmi=pmix starts one application; this job has several, which Flux does not start"
    else:
        how = f"start it with: {equivalent(options)}"
    return CommandError(
        f"this is inside a Flux instance (FLUX_URI is set); {how}; or add --local to use this machine alone"
    )


def equivalent(options: RunOptions) -> str:
    """Return the `flux run` command line that starts the same job, quoted for a shell."""
    from shlex import join

    words = ["flux", "run", "-o", "pmi=pmix"]
    for given in options.given:
        if given.key == "local" or (given.key == "setopt" and given.text.partition("=")[0] in _OURS):
            continue
        words += given.words
    command = options.apps[0].command
    return join([*words, *(["--"] if command[0].startswith("-") else []), *command])
