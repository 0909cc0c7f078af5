"""`flux run -o pmi=pmix` with our plugin and with the C flux-pmix, in the same Flux instance and in turns.

Run it where `flux` is on PATH, with the Python of an environment where fluxpmix is installed:

    python bench/flux.py [--c-plugin=PATH] [--libpmix=PATH] [--rounds=N] [--sizes=64,4096,...]

PATH of the plugin is flux-pmix's pmix.so; without it our figures stand alone. Both use the libpmix that is named
(default: the system's), and so do the tasks. Goals: a whole job at most 1.1 times the C plugin's; a collecting
fence over 8 shells never slower at 64 B, 5 times faster at 4 KiB, 10 at 64 KiB, 20 at 1 MiB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import HERE, in_turns, table, wall

SHELLS = 8
C_PLUGIN = "lib/flux/shell/plugins/pmix.so"  # below flux-pmix's prefix: see `all.py`


def option(name: str, default: str) -> str:
    found = [word.partition("=")[2] for word in sys.argv if word.startswith(f"--{name}=")]
    return found[-1] if found else default


def compiled(name: str, library: str, directory: Path) -> str:
    """Compile a C client of this directory against a libpmix."""
    program = directory / name
    where = [library, f"-Wl,-rpath,{os.path.dirname(library)}"] if "/" in library else [f"-l:{library}"]
    subprocess.run(["cc", "-O1", "-o", program, HERE / f"{name}.c", *where], check=True)
    return str(program)


def main() -> None:
    if os.environ.get("FLUXPMIX_BENCH") != "inside":
        env = os.environ | {"FLUXPMIX_BENCH": "inside"}
        command = ["flux", "start", f"--test-size={SHELLS}", sys.executable, *sys.argv]
        raise SystemExit(subprocess.run(command, env=env, check=False).returncode)
    with tempfile.TemporaryDirectory() as scratch:
        measure(Path(scratch))


def measure(scratch: Path) -> None:
    from fluxpmix.shell.flux import location

    plugin = location.find()
    assert plugin is not None, "flux-pmix build-plugins builds the plugin"
    library, theirs = option("libpmix", "libpmix.so.2"), option("c-plugin", "")
    rounds = int(option("rounds", "15"))
    barrier, fence = (compiled(name, library, scratch) for name in ("barrier", "fence"))
    (scratch / "none").mkdir()
    (scratch / "c").mkdir()
    (scratch / "c" / "pmix.lua").write_text(f'plugin.load ("{theirs}")\n')
    ours = (os.path.dirname(plugin.lua), ["-o", "pmi=pmix", "-o", f"pmix.libpmix={library}"])
    plugins = {"C": (str(scratch / "c"), ["-o", "pmi=pmix"])} if theirs else {}
    plugins["ours"] = ours

    def env(path: str) -> dict[str, str]:
        return os.environ | {"FLUX_SHELL_RC_PATH": path}

    def job(path: str, options: list[str], program: str) -> float:
        return wall(["flux", "run", "-N2", "-n4", *options, program], env(path))

    contestants = {
        "no PMIx": lambda: job(str(scratch / "none"), [], "true"),
        "ours, not asked for": lambda: job(ours[0], [], "true"),
    }
    for name, (path, options) in plugins.items():
        contestants[name] = lambda path=path, options=options: job(path, options, barrier)
    found = in_turns(rounds, contestants)
    rows = [("", "median", "to C")]
    rows += [(name, f"{s * 1e3:.0f} ms", ratio(s, found.get("C"))) for name, s in found.items()]
    table(f"flux run -N2 -n4 of init, barrier, finalize ({rounds} rounds in turns)", rows)

    rows = [("bytes a rank", *(f"{what}, {name}" for what in ("fence", "barrier") for name in plugins), "C to ours")]
    for size in map(int, option("sizes", "64,4096,65536,1048576").split(",")):
        figures: dict[str, list[float]] = {}
        for name, (path, options) in plugins.items():
            # Bound, the shells of all brokers of this machine would share its first core.
            options = [*options, "-o", "cpu-affinity=off"]
            command = ["flux", "run", f"-N{SHELLS}", f"-n{SHELLS}", *options, fence, str(size), "20"]
            done = subprocess.run(command, env=env(path), capture_output=True, text=True, check=True)
            figures[name] = list(map(float, done.stdout.split()))
        cells = [f"{figures[name][kind]:.2f} ms" for kind in (0, 1) for name in plugins]
        ratios = [f"{figures['C'][kind] / figures['ours'][kind]:.1f}" for kind in (0, 1)] if "C" in figures else ["-"]
        rows.append((str(size), *cells, " and ".join(ratios)))
    table(f"one fence over {SHELLS} shells, a rank each (median of 20)", rows)


def ratio(one: float, other: float | None) -> str:
    return f"{one / other:.2f}" if other else "-"


main()
