"""What flux-shell's description of its node's hardware, hwloc's XML, says: its shape, its cores, its GPUs.

Asked by `plugin.py` at shell.init. The text is searched for the few words that are wanted; only a job that
has GPUs costs a parser.
"""

from __future__ import annotations

from collections.abc import Iterable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Core = tuple[int, ...]  # the CPUs (hardware threads) of a core

_COUNTED = (
    *(("NUMANode", "N"), ("Package", "S"), ("L3Cache", "L3"), ("L2Cache", "L2"), ("L1Cache", "L1")),
    *(("Core", "C"), ("PU", "H")),
)
_COMPUTES = ("CUDA", "NVML", "OpenCL", "RSMI")  # hwloc's backends whose devices Flux counts as GPUs
_GPU = "1"  # hwloc's type of a device of the operating system


def signature(xml: str) -> str:
    """Return hwloc's signature of the topology, e.g. `1N:2S:2L3:8L2:8L1:8C:16H:x86_64:le`."""
    import os
    import sys

    counts = ":".join(str(xml.count(f'type="{kind}"')) + letter for kind, letter in _COUNTED)
    return f"{counts}:{os.uname().machine}:{'le' if sys.byteorder == 'little' else 'be'}"


def cpus(xml: str) -> frozenset[int]:
    """Return all CPUs of the node. Raises ValueError."""
    machine = xml.partition('<object type="Machine"')[2].partition(">")[0]
    return frozenset(bitmap(_attribute(machine, "complete_cpuset")))


def cores(xml: str) -> tuple[Core, ...]:
    """Return the node's cores as Flux numbers them: hwloc's order. Raises ValueError."""
    found = []
    at = xml.find('<object type="Core"')
    while at >= 0:
        found.append(bitmap(_attribute(xml[at : xml.index(">", at)], "cpuset")))
        at = xml.find('<object type="Core"', at + 1)
    return tuple(found)


def gpus(xml: str, wanted: Iterable[int]) -> tuple[str, ...]:
    """Return the names of the devices that are the GPUs `wanted`, as Flux numbers them; none where it has none.

    Flux counts the devices that compute (`cuda0`, `rsmi0`); PMIx's distances are those of the devices that
    hwloc calls GPUs (`nvml0`, `rsmi0`). Both of one card lie below the same device of the PCI bus.
    """
    devices = _devices(xml)
    counted: list[tuple[Any, str]] = []
    for place, _name, _kind, backend in devices:
        # A card that two of the backends know is one GPU; a card that one shows in parts is several.
        if backend in _COMPUTES and not any(place == at and backend != other for at, other in counted):
            counted.append((place, backend))
    places = {counted[index][0] for index in wanted if index < len(counted)}
    return tuple(name for place, name, kind, _ in devices if kind == _GPU and place in places)


def bitmap(text: str) -> tuple[int, ...]:
    """Return the bits of a set in hwloc's form: words of 32 bits, the highest first. Raises ValueError."""
    words = text.split(",")
    if "0xf...f" in words:
        raise ValueError(f"a set without end: {text!r}")
    value = 0
    for word in words:
        value = value << 32 | int(word or "0", 16)
    return bits(value)


def bits(value: int) -> tuple[int, ...]:
    """Return the numbers of the bits that are set."""
    return tuple(index for index in range(value.bit_length()) if value >> index & 1)


def _attribute(element: str, name: str) -> str:
    return element.partition(f' {name}="')[2].partition('"')[0]


def _devices(xml: str) -> list[tuple[Any, str, str, str]]:
    """Return the devices of the operating system in hwloc's order: PCI address, name, type and backend."""
    from xml.parsers.expat import ParserCreate

    found: list[tuple[Any, str, str, str]] = []
    above: list[tuple[str, str]] = []  # the objects around: type, and address or name

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag == "object":
            above.append((attributes["type"], attributes.get("pci_busid", "")))
            if attributes["type"] == "OSDev":
                place = next((address for kind, address in reversed(above) if kind == "PCIDev"), None)
                found.append((place, attributes.get("name", ""), attributes.get("osdev_type", ""), ""))
        elif tag == "info" and above and above[-1][0] == "OSDev" and attributes.get("name") == "Backend":
            found[-1] = (*found[-1][:3], attributes.get("value", ""))

    def end(tag: str) -> None:
        if tag == "object":
            above.pop()

    parser = ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.Parse(xml, True)
    return found
