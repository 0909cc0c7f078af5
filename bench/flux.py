"""`flux run -o pmi=pmix` with our plugin and with the C flux-pmix, in the same Flux instances and in turns.

Run it where `flux` is on PATH, with the Python of an environment where fluxpmix is installed:

    python bench/flux.py [--c-plugin=PATH] [--libpmix=PATH] [--rounds=N] [--shells=2,4,...]

PATH of the plugin is flux-pmix's pmix.so; without it our figures stand alone. Both use the libpmix that is named
(default: the system's), and so do the tasks. Goals: a whole job at most 1.1 times the C plugin's; a collecting
fence over 8 shells never slower at 64 B, 5 times faster at 4 KiB, 10 at 64 KiB, 20 at 1 MiB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from measure import (
    C_FLUX_PMIX,
    HERE,
    IN_FLUX,
    QUICK,
    SHELLS,
    SIZES,
    SYSTEM,
    fence_figures,
    fences,
    figure,
    in_turns,
    program,
    table,
    wall,
    written,
)

JOBS_ON = 8  # brokers: the instance in which whole jobs are measured
C_PLUGIN = "lib/flux/shell/plugins/pmix.so"  # below flux-pmix's prefix: see `all.py`
INSIDE = "FLUXPMIX_BENCH_INSIDE"  # how many brokers this instance has
# Bound, the shells of all brokers of this machine would share its first core.
UNBOUND = ("-o", "cpu-affinity=off")


def option(name: str, default: str) -> str:
    found = [word.partition("=")[2] for word in sys.argv if word.startswith(f"--{name}=")]
    return found[-1] if found else default


def main() -> None:
    if inside := os.environ.get(INSIDE):
        measure(int(inside))
        return
    failed = []
    for shells in map(int, option("shells", ",".join(map(str, SHELLS))).split(",")):
        command = ["flux", "start", f"--test-size={shells}", sys.executable, *sys.argv]
        try:
            if subprocess.run(command, env=os.environ | {INSIDE: str(shells)}, timeout=300, check=False).returncode:
                failed.append(shells)
        except subprocess.TimeoutExpired:
            failed.append(shells)
    if failed:
        raise SystemExit(f"instances of {failed} brokers failed")


def measure(shells: int) -> None:
    from fluxpmix.shell.flux import location

    plugin = location.find()
    assert plugin is not None, "flux-pmix build-plugins builds the plugin"
    library, theirs = option("libpmix", SYSTEM), option("c-plugin", "")
    count = int(option("rounds", "5" if QUICK else "15"))
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        barrier, fence = (stack.enter_context(program(name, library)) for name in ("barrier", "fence"))
        for name, text in (("none", ""), ("c", f'plugin.load ("{theirs}")\n')):
            (scratch / name).mkdir()
            (scratch / name / "pmix.lua").write_text(text)
        plugins = {C_FLUX_PMIX: (str(scratch / "c"), ["-o", "pmi=pmix"])} if theirs else {}
        plugins[IN_FLUX] = (os.path.dirname(plugin.lua), ["-o", "pmi=pmix", "-o", f"pmix.libpmix={library}"])
        if shells == JOBS_ON:
            jobs(plugins, str(scratch / "none"), barrier, count)
            memory(plugins, shells, library)
        exchanges(plugins, shells, fence, 5 if QUICK else 20)


def env(path: str) -> dict[str, str]:
    return os.environ | {"FLUX_SHELL_RC_PATH": path}


def jobs(plugins: dict[str, tuple[str, list[str]]], none: str, barrier: Path, count: int) -> None:
    """Measure whole jobs."""

    def job(path: str, options: list[str], command: object) -> float:
        return wall(["flux", "run", "-N2", "-n4", *options, str(command)], env(path))

    ours = plugins[IN_FLUX][0]
    contestants = {"no PMIx": lambda: job(none, [], "true"), "ours, not asked for": lambda: job(ours, [], "true")}
    for name, (path, options) in plugins.items():
        contestants[name] = lambda path=path, options=options: job(path, options, barrier)
    found = in_turns(count, contestants)
    for who in plugins:
        figure("flux run -N2 -n4: init, barrier, finalize", who, found[who] * 1e3, "ms")
    rows = [("", "median", f"to {C_FLUX_PMIX}")]
    rows += [(name, f"{s * 1e3:.0f} ms", ratio(s, found.get(C_FLUX_PMIX))) for name, s in found.items()]
    table(f"flux run -N2 -n4 of init, barrier, finalize ({count} rounds in turns)", rows)


def memory(plugins: dict[str, tuple[str, list[str]]], shells: int, library: str) -> None:
    """Measure a flux-shell's memory after some collecting fences."""
    client = [sys.executable, HERE / "fence_client.py", "5", "4096"]
    rows = [("", "resident")]
    for who, (path, options) in plugins.items():
        words = ["flux", "run", f"-N{shells}", f"-n{shells}", *options, *UNBOUND, *map(str, client)]
        used = env(path) | {"FLUXPMIX_LIBPMIX": library}
        done = subprocess.run(words, env=used, capture_output=True, text=True, check=True, timeout=60)
        resident = float(done.stdout.split()[2])
        figure(f"memory of a job shell, {shells} shells", who, resident, "MiB")
        rows.append((who, f"{resident:.1f} MiB"))
    table(f"memory of a flux-shell, {shells} shells", rows)


def exchanges(plugins: dict[str, tuple[str, list[str]]], shells: int, fence: Path, count: int) -> None:
    """Measure fences over all shells."""
    found: dict[str, dict[int, tuple[float, float]]] = {who: {} for who in plugins}
    for size in SIZES:
        for who, (path, options) in plugins.items():
            words = ["flux", "run", f"-N{shells}", f"-n{shells}", *options, *UNBOUND, fence]
            found[who][size] = fences(words, size, max(5, count >> (size >> 19)), env(path))
    for who, figures in found.items():
        fence_figures(who, shells, figures)
    rows = [("bytes a rank", *(f"{what}, {who}" for what in ("fence", "barrier") for who in plugins), "C to ours")]
    for size in SIZES:
        cells = [f"{found[who][size][kind]:.2f} ms" for kind in (0, 1) for who in plugins]
        one = (
            [f"{found[C_FLUX_PMIX][size][kind] / found[IN_FLUX][size][kind]:.1f}" for kind in (0, 1)]
            if (C_FLUX_PMIX in found)
            else ["-"]
        )
        rows.append((written(size), *cells, " and ".join(one)))
    table(f"one fence over {shells} shells, a rank each (median of {count})", rows)


def ratio(one: float, other: float | None) -> str:
    return f"{one / other:.2f}" if other else "-"


main()
