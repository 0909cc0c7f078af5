"""Whether it pays to compress what fences move: real modex data of Open MPI, over TCP, UCX and libfabric.

Run it with the Python of an environment where fluxpmix[mpi] is installed: `python bench/compression.py [ranks]`. A
job of MPI_Init over 4 shells is run with each transport, what each shell gives to the collecting fences is kept, and
zlib (level 1; level 6 is slower and gains a few per cent) is tried on one shell's data and on all shells' together.
It pays where the bytes that it saves take the link longer than both ends take to save them: below the link speed in
the last column. The presets of `flux-pmix sim` are named beside it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from measure import table

from fluxpmix.sim.network import NETWORKS

SHELLS = 4
LEVEL = 1
TRANSPORTS = {
    "TCP and shared memory": {},
    "UCX": {"OMPI_MCA_pml": "ucx", "OMPI_MCA_pml_ucx_tls": "any", "OMPI_MCA_pml_ucx_devices": "any"},
    "libfabric": {"OMPI_MCA_pml": "cm", "OMPI_MCA_mtl": "ofi", "OMPI_MCA_mtl_ofi_provider_include": "tcp;ofi_rxm"},
}
# Is `flux-pmix run`, and has each shell keep what it gives to a collecting fence.
KEEPING = """
import os, sys
from fluxpmix.cli.main import main
from fluxpmix.host.fence import Fences
upcall = Fences.upcall
def kept(self, request, now, out):
    if request.data and len(request.data) > 16:
        with open(f"{os.environ['KEEP']}/{os.getpid()}", "ab") as file:
            file.write(len(request.data).to_bytes(8, "big") + request.data)
    return upcall(self, request, now, out)
Fences.upcall = kept
sys.exit(main(["run", *sys.argv[1:]]))
"""
PROGRAM = "from mpi4py import MPI; MPI.COMM_WORLD.Barrier()"


def blobs(ranks: int, settings: dict[str, str]) -> list[bytes]:
    """Return what each shell gave to the largest of its collecting fences; nothing where MPI does not start so."""
    with tempfile.TemporaryDirectory() as directory:
        words = [sys.executable, "-c", KEEPING, f"-N{SHELLS}", f"-n{ranks}"]
        words += [f"--env={name}={value}" for name, value in settings.items()]
        words += [sys.executable, "-c", PROGRAM]
        env = os.environ | {"KEEP": directory}
        done = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"left out: {next(iter(done.stderr.strip().splitlines()[-1:]), 'no reason given')}")
            return []
        return [max(split(path.read_bytes()), key=len) for path in Path(directory).iterdir()]


def split(data: bytes) -> list[bytes]:
    """Undo what the shell has written."""
    found = []
    while data:
        size = int.from_bytes(data[:8], "big")
        found.append(data[8 : 8 + size])
        data = data[8 + size :]
    return found


def seconds(call: Callable[[], object]) -> float:
    """Return what a call takes: the least of some."""
    taken = []
    for _ in range(50):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return min(taken)


def row(name: str, data: bytes) -> tuple[str, ...]:
    """Return what compressing these bytes costs and gains."""
    packed = zlib.compress(data, LEVEL)
    there, back = seconds(lambda: zlib.compress(data, LEVEL)), seconds(lambda: zlib.decompress(packed))
    saved = len(data) - len(packed)
    below = saved / (there + back)
    pays = [network for network in NETWORKS.values() if network.bandwidth < below]
    return (
        name,
        f"{len(data)}",
        f"{len(packed)} ({len(packed) / len(data):.0%})",
        f"{there * 1e6:.0f} us, {back * 1e6:.0f} us",
        f"{below * 8 / 1e6:.0f} Mbit/s" if saved > 0 else "never",
        ", ".join(network.name for network in pays) or "none",
    )


def main() -> None:
    ranks = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    rows = [("modex data", "bytes", "compressed", "there and back", "pays below", "of the presets")]
    for name, settings in TRANSPORTS.items():
        found = blobs(ranks, settings)
        if found:
            rows.append(row(f"{name}, a shell's", found[0]))
            rows.append(row(f"{name}, all {SHELLS} shells'", b"".join(found)))
    table(f"zlib level {LEVEL} on the modex data of {ranks} ranks of Open MPI on {SHELLS} shells", rows)


main()
