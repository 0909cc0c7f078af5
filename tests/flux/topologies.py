"""Machines that are not this one, as hwloc's XML: for what depends on a node's cores, hardware threads and GPUs."""

from __future__ import annotations

from collections.abc import Iterator


def machine(packages: int = 1, cores: int = 2, threads: int = 1, gpus: int = 0) -> str:
    """So many packages, each with so many cores and GPUs; CPU numbers go round as on most machines with SMT."""
    numbers = iter(range(1, 10000))

    def element(kind: str, index: int, cpus: list[int], *inside: str, more: str = "") -> str:
        mask = hexadecimal(cpus)
        sets = f'cpuset="{mask}" complete_cpuset="{mask}" nodeset="0x1" complete_nodeset="0x1"'
        own = f'type="{kind}" os_index="{index}" {sets} gp_index="{next(numbers)}"{more}'
        return f"<object {own}>{''.join(inside)}</object>"

    def package(index: int) -> str:
        mine = range(index * cores, (index + 1) * cores)
        made = [
            element(
                "Core",
                core,
                [core + packages * cores * thread for thread in range(threads)],
                *(element("PU", cpu, [cpu]) for cpu in (core + packages * cores * thread for thread in range(threads))),
            )
            for core in mine
        ]
        cpus = [core + packages * cores * thread for core in mine for thread in range(threads)]
        memory = [element("NUMANode", 0, cpus, more=' local_memory="1073741824"')] if index == 0 else []
        return element("Package", index, cpus, *memory, *made, *cards(index))

    def cards(index: int) -> Iterator[str]:
        for card in range(index * gpus, (index + 1) * gpus):
            bus = f"{card + 1:02x}"
            devices = "".join(
                f'<object type="OSDev" gp_index="{next(numbers)}" name="{name}{card}" osdev_type="{kind}">'
                f'<info name="Backend" value="{backend}"/></object>'
                for name, kind, backend in (("cuda", 5, "CUDA"), ("nvml", 1, "NVML"))
            )
            yield (
                f'<object type="Bridge" gp_index="{next(numbers)}" bridge_type="0-1" depth="0" '
                f'bridge_pci="0000:[{bus}-{bus}]"><object type="PCIDev" gp_index="{next(numbers)}" '
                f'pci_busid="0000:{bus}:00.0" pci_type="0302 [10de:1db6] [10de:124a] a1" pci_link_speed="15.75">'
                f"{devices}</object></object>"
            )

    every = list(range(packages * cores * threads))
    mask = hexadecimal(every)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE topology SYSTEM "hwloc2.dtd">\n<topology version="2.0">\n'
        f'<object type="Machine" os_index="0" cpuset="{mask}" complete_cpuset="{mask}" allowed_cpuset="{mask}" '
        'nodeset="0x1" complete_nodeset="0x1" allowed_nodeset="0x1" gp_index="0">'
        f"{''.join(map(package, range(packages)))}</object>\n</topology>\n"
    )


def hexadecimal(cpus: list[int]) -> str:
    """A set as hwloc writes it: words of 32 bits, the highest first."""
    value = sum(1 << cpu for cpu in cpus)
    words = [f"0x{value >> shift & 0xFFFFFFFF:08x}" for shift in range(0, max(value.bit_length(), 1), 32)]
    return ",".join(reversed(words))
