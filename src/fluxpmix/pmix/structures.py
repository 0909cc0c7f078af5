"""The structs that a value may point to and that few hosts meet: process tables, fabric, devices.

Imported by `values.py` when one of them comes by. Standard 4.2, sections 3.2 and 14.
"""

from __future__ import annotations

from fluxpmix.pmix.record import Record
from fluxpmix.pmix.types import DataType, Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ProcInfo(Record):
    """`pmix_proc_info_t`: a line of a process table."""

    proc: Proc
    hostname: str | None = None
    executable: str | None = None
    pid: int = 0
    exit_code: int = 0
    state: int = 0


class Coord(Record):
    """`pmix_coord_t`: a place in a fabric; `view` 1 is logical, 2 physical."""

    view: int
    coord: tuple[int, ...]


class Geometry(Record):
    """`pmix_geometry_t`: the coordinates of a device in a fabric."""

    fabric: int
    uuid: str | None
    osname: str | None
    coordinates: tuple[Coord, ...] = ()


class DeviceDistance(Record):
    """`pmix_device_distance_t`: how far a device is from the caller's location."""

    uuid: str | None
    osname: str | None
    type: int
    mindist: int
    maxdist: int


class Endpoint(Record):
    """`pmix_endpoint_t`: the endpoint that a fabric assigned to a device."""

    uuid: str | None
    osname: str | None
    endpoint: bytes


_TYPES: dict[type, DataType] = {
    ProcInfo: DataType.PROC_INFO,
    Coord: DataType.COORD,
    Geometry: DataType.GEOMETRY,
    DeviceDistance: DataType.DEVICE_DIST,
    Endpoint: DataType.ENDPOINT,
}


def type_of(value: Any) -> DataType | None:
    """Return the PMIx type of one of these classes' objects, None for anything else."""
    return _TYPES.get(type(value))


def fill(ffi: Any, struct: Any, key: str, item: Any, keep: list[Any]) -> None:
    """Write `item` into its struct; what it points to goes on `keep`."""
    from fluxpmix.pmix import values

    def text(value: str | None) -> Any:
        return ffi.NULL if value is None else values.c_string(ffi, key, value, keep)

    if isinstance(item, ProcInfo):
        values.fill_proc(struct.proc, item.proc, key)
        struct.hostname, struct.executable_name = text(item.hostname), text(item.executable)
        struct.pid, struct.exit_code, struct.state = item.pid, item.exit_code, item.state
    elif isinstance(item, Coord):
        memory = ffi.new("uint32_t[]", list(item.coord))
        keep.append(memory)
        struct.view, struct.coord, struct.dims = item.view, memory, len(item.coord)
    elif isinstance(item, Geometry):
        memory = ffi.new("pmix_coord_t[]", len(item.coordinates))
        keep.append(memory)
        for at, coord in enumerate(item.coordinates):
            fill(ffi, memory[at], key, coord, keep)
        struct.fabric, struct.uuid, struct.osname = item.fabric, text(item.uuid), text(item.osname)
        struct.coordinates, struct.ncoords = memory, len(item.coordinates)
    elif isinstance(item, DeviceDistance):
        struct.uuid, struct.osname, struct.type = text(item.uuid), text(item.osname), item.type
        struct.mindist, struct.maxdist = item.mindist, item.maxdist
    elif isinstance(item, Endpoint):
        struct.uuid, struct.osname = text(item.uuid), text(item.osname)
        struct.endpt.bytes, struct.endpt.size = values.c_bytes(ffi, key, item.endpoint, keep)
    else:
        raise ValueError(f"{key}: {item!r} is no {ffi.typeof(struct).cname}")


def read(ffi: Any, type_: DataType, struct: Any) -> Any:
    """Copy a struct of one of these types."""
    from fluxpmix.pmix import values

    def text(pointer: Any) -> str | None:
        return ffi.string(pointer).decode("utf-8", "surrogateescape") if pointer else None

    if type_ is DataType.PROC_INFO:
        return ProcInfo(
            values.decode_proc(ffi, struct.proc),
            text(struct.hostname),
            text(struct.executable_name),
            struct.pid,
            struct.exit_code,
            struct.state,
        )
    if type_ is DataType.COORD:
        return Coord(struct.view, tuple(ffi.unpack(struct.coord, struct.dims)) if struct.coord else ())
    if type_ is DataType.GEOMETRY:
        coords = [read(ffi, DataType.COORD, struct.coordinates[at]) for at in range(struct.ncoords)]
        return Geometry(struct.fabric, text(struct.uuid), text(struct.osname), tuple(coords))
    if type_ is DataType.DEVICE_DIST:
        return DeviceDistance(text(struct.uuid), text(struct.osname), struct.type, struct.mindist, struct.maxdist)
    endpoint = struct.endpt
    data = bytes(ffi.buffer(endpoint.bytes, endpoint.size)) if endpoint.bytes else b""
    return Endpoint(text(struct.uuid), text(struct.osname), data)
