"""A value of each PMIx data type, and what libpmix (4.2 and 5.0 alike) can do with it.

Test programs that run as clients import this too, to know what they must find.
"""

from __future__ import annotations

from typing import Any

from fluxpmix.pmix.structures import Coord, DeviceDistance, Endpoint, Geometry, ProcInfo
from fluxpmix.pmix.types import (
    RANK_WILDCARD,
    DataArray,
    DataType,
    Envar,
    Info,
    Proc,
    Regex,
    Timeval,
    Value,
)

_COORD = Coord(1, (1, 2, 3))
_NAMES = DataArray(DataType.STRING, ("a", ""))

# The whole numbers: (type, lowest, highest)
NUMBERS = tuple(
    (DataType[name], -(1 << bits - 1) if signed else 0, (1 << bits - (1 if signed else 0)) - 1)
    for names, bits, signed in (
        ("INT8", 8, True),
        ("INT16", 16, True),
        ("INT32 INT PID STATUS", 32, True),
        ("INT64 TIME", 64, True),
        ("BYTE UINT8 PERSIST SCOPE DATA_RANGE COMMAND PROC_STATE ALLOC_DIRECTIVE JOB_STATE LINK_STATE", 8, False),
        ("UINT16 DATA_TYPE IOF_CHANNEL LOCTYPE STOR_ACCESS_TYPE", 16, False),
        ("UINT32 UINT PROC_RANK INFO_DIRECTIVES", 32, False),
        ("UINT64 SIZE DEVTYPE STOR_MEDIUM STOR_ACCESS STOR_PERSIST", 64, False),
    )
    for name in names.split()
)

SAMPLES: dict[DataType, Any] = {
    DataType.UNDEF: None,
    DataType.BOOL: True,
    DataType.STRING: "grüezi",
    DataType.FLOAT: -0.5,
    DataType.DOUBLE: 0.1,
    DataType.TIMEVAL: Timeval(1_700_000_000, 999_999),
    DataType.VALUE: Value(DataType.INT8, -3),
    DataType.PROC: Proc("job", RANK_WILDCARD),
    DataType.INFO: Info("key", "value", DataType.STRING, required=True),
    DataType.BYTE_OBJECT: bytes(range(256)),
    DataType.POINTER: 0x7FFF_1234_5678,
    DataType.PROC_INFO: ProcInfo(Proc("job", 7), "node0", "/bin/prog", 4711, 0, 3),
    DataType.DATA_ARRAY: DataArray(
        DataType.INFO,
        (
            Info("deep", DataArray(DataType.INFO, (Info("names", _NAMES, DataType.DATA_ARRAY),)), DataType.DATA_ARRAY),
            Info("procs", DataArray(DataType.PROC, (Proc("job", 0), Proc("job", 1))), DataType.DATA_ARRAY),
        ),
    ),
    DataType.COMPRESSED_STRING: "so long " * 1000,
    DataType.COMPRESSED_BYTE_OBJECT: b"\0\1" * 5000,
    DataType.ENVAR: Envar("PATH", "/opt/bin", ";"),
    DataType.COORD: _COORD,
    DataType.REGEX: Regex(b"raw:node0,node1\0"),
    DataType.GEOMETRY: Geometry(2, "uuid", None, (_COORD,)),  # freed wrongly with more
    DataType.DEVICE_DIST: DeviceDistance("uuid", "eth0", 1 << 40, 0, 65535),
    DataType.ENDPOINT: Endpoint("uuid", "eth0", b"\0end\0"),
    DataType.PROC_NSPACE: "job",
    **{type_: highest for type_, _, highest in NUMBERS},
}

# What is made by another library (hwloc), and the types of which the binding makes none.
FROM_HWLOC = (DataType.TOPO, DataType.PROC_CPUSET)
NEVER_MADE = (
    DataType.APP,
    DataType.PDATA,
    DataType.KVAL,
    DataType.QUERY,
    DataType.REGATTR,
    DataType.PROC_STATS,
    DataType.DISK_STATS,
    DataType.NET_STATS,
    DataType.NODE_STATS,
    DataType.DATA_BUFFER,
)
# libpmix has these only in arrays, and the binding says so.
ONLY_IN_ARRAYS = (DataType.INFO, DataType.VALUE)
# PMIx_Value_xfer refuses these.
NOT_COPIED = (DataType.COMMAND, DataType.INFO_DIRECTIVES, DataType.DATA_TYPE, DataType.IOF_CHANNEL)
# The wire changes these: an address means nothing elsewhere, and a data type is packed without sign
# but unpacked with one.
NOT_SENT = (DataType.POINTER, DataType.DATA_TYPE)
# 4.2.2 crashes where it decompresses a string for PMIx_Get (`*outstring[len2 - 1] = 0`), 5.0 where its
# server stores a regex that came without its size.
NOT_GOT = (DataType.COMPRESSED_STRING, DataType.REGEX)

# There are no arrays of these, or libpmix cannot carry them; PMIx_Value_xfer refuses arrays of the
# second, and the wire refuses or changes those of the third.
NO_ARRAYS = (
    DataType.UNDEF,
    DataType.POINTER,
    DataType.REGEX,
    DataType.GEOMETRY,
    DataType.DATA_ARRAY,
    DataType.COMPRESSED_STRING,
    DataType.COMPRESSED_BYTE_OBJECT,
)
NOT_COPIED_IN_ARRAYS = (
    DataType.DATA_TYPE,
    DataType.PROC_STATE,
    DataType.ALLOC_DIRECTIVE,
    DataType.IOF_CHANNEL,
    DataType.JOB_STATE,
    DataType.LINK_STATE,
    DataType.DEVTYPE,
    DataType.LOCTYPE,
    DataType.STOR_MEDIUM,
    DataType.STOR_ACCESS,
    DataType.STOR_PERSIST,
    DataType.STOR_ACCESS_TYPE,
)
NOT_SENT_IN_ARRAYS = (DataType.COMMAND, *NOT_COPIED_IN_ARRAYS)


def values(without: tuple[DataType, ...]) -> dict[DataType, Any]:
    """The samples that can stand alone, but these."""
    return {type_: value for type_, value in SAMPLES.items() if type_ not in (*ONLY_IN_ARRAYS, *without)}


def arrays(without: tuple[DataType, ...]) -> dict[DataType, DataArray]:
    """An array of the sample of each type but these."""
    return {
        type_: DataArray(type_, (value,) * 3) for type_, value in SAMPLES.items() if type_ not in (*NO_ARRAYS, *without)
    }
