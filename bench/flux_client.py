"""Flux started by prterun with our PMI client plugin and with the C flux-pmix's, in turns.

Run it where `flux` is on PATH, with the Python of an environment where `fluxpmix[mpi]` is installed:

    python bench/flux_client.py [--c-plugin=DIR] [--libpmix=PATH] [--brokers=8] [--rounds=N]

DIR is a directory with flux-pmix's pmix.so of PMI clients; without it our figures stand alone. PATH names the
libpmix of ours (default: the system's, which the C plugin is linked with). An instance is ready when its initial
program runs, which is when all brokers have joined. Goal: at most 1.2 times the C plugin's time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from measure import C_FLUX_PMIX, IN_FLUX, QUICK, as_root, figure, in_turns, prterun, table

# What the initial program says: when it runs, and its broker's memory.
LOOK = "date +%s.%N; cat /proc/$(flux getattr broker.pid)/smaps_rollup | grep -E '^(Rss|Pss|Private_Dirty):'"
PMI = ("flux", "pmi", "--method=pmix", "exchange")

C_PLUGIN = "lib/flux/upmi/plugins"  # below flux-pmix's prefix: see `all.py`


def option(name: str, default: str) -> str:
    found = [word.partition("=")[2] for word in sys.argv if word.startswith(f"--{name}=")]
    return found[-1] if found else default


def run(command: list[str], env: dict[str, str]) -> list[str]:
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout.splitlines()


def main() -> None:
    from fluxpmix.shell.flux import location

    plugin = location.find()
    assert plugin is not None, "flux-pmix build-plugins builds the plugin"
    brokers, rounds, theirs = (
        int(option("brokers", "8")),
        int(option("rounds", "3" if QUICK else "11")),
        option("c-plugin", ""),
    )
    ours = os.path.dirname(plugin.upmi)
    base = {name: value for name, value in as_root().items() if not name.startswith("FLUX_PMI")}
    plugins = {"C flux-pmix": base | {"FLUX_PMI_CLIENT_SEARCHPATH": theirs}} if theirs else {}
    plugins["ours"] = base | {
        "FLUX_PMI_CLIENT_SEARCHPATH": ours,
        "FLUXPMIX_LIBPMIX": option("libpmix", "libpmix.so.2"),
    }
    plugins["ours, libpmix of the wheel"] = base | {"FLUX_PMI_CLIENT_SEARCHPATH": ours}
    memory: dict[str, list[list[int]]] = {name: [] for name in plugins}

    def instance(name: str) -> Callable[[], float]:
        def start() -> float:
            command = [*prterun(brokers), "flux", "start", "-Sbroker.boot-method=pmix", "sh", "-c", LOOK]
            started = time.time()
            ready, *sizes = [line for line in run(command, plugins[name]) if line.strip()]
            memory[name].append([int(line.split()[1]) for line in sizes])
            return float(ready) - started

        return start

    def client(name: str) -> Callable[[], float]:
        def exchange() -> float:
            started = time.time()
            run([*prterun(brokers), *PMI], plugins[name])
            return time.time() - started

        return exchange

    first = next(iter(plugins))
    for title, contestants in (
        (f"prterun -n {brokers} flux start: until it is ready", {name: instance(name) for name in plugins}),
        (f"prterun -n {brokers} {' '.join(PMI)}", {name: client(name) for name in plugins}),
    ):
        found = in_turns(rounds, contestants)
        for name, who in (("ours", IN_FLUX), ("C flux-pmix", C_FLUX_PMIX)):
            if name in found:
                figure(title, who, found[name] * 1e3, "ms")
        rows = [(name, f"{s * 1e3:.0f} ms", f"{s / found[first]:.2f}") for name, s in found.items()]
        table(f"{title} (median of {rounds}, in turns)", [("", "time", f"to {first}"), *rows])
    rows = []
    for name, figures in memory.items():
        medians = [statistics.median(column) / 1024 for column in zip(*figures, strict=True)]
        rows.append((name, *(f"{each:.1f} MiB" for each in medians)))
        if who := {"ours": IN_FLUX, "C flux-pmix": C_FLUX_PMIX}.get(name):
            figure("memory of broker 0 of such an instance", who, medians[0], "MiB")
    table("memory of broker 0 when it is ready", [("", "resident", "proportional", "private, written"), *rows])


main()
