"""The plain data of PMIx: data types, processes, attributes' values and the small enumerations.

Nothing here needs libpmix or cffi, so the floors above (job, host) can import it at no cost.
Names and numbers are those of the PMIx Standard, chapter 3 ("Data Structures and Types"), and of
OpenPMIx's headers, which agree from 4.2 to 6.1.
"""

from __future__ import annotations

from fluxpmix.pmix.enumeration import IntEnum, IntFlag
from fluxpmix.pmix.record import NamedTuple, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TypeAlias


MAX_KEYLEN = 511
LARGEST_VALUE = (1 << 31) - 1  # bytes: libpmix counts them in 32 bits, and crashes at more
MAX_NSLEN = 255

RANK_UNDEF = 0xFFFFFFFF
RANK_WILDCARD = 0xFFFFFFFE
RANK_LOCAL_NODE = 0xFFFFFFFD
RANK_INVALID = 0xFFFFFFFC
RANK_LOCAL_PEERS = 0xFFFFFFFB
RANK_VALID = 0xFFFFFFCD  # the largest rank that names a process


class DataType(IntEnum):
    """`pmix_data_type_t`."""

    UNDEF = 0
    BOOL = 1
    BYTE = 2
    STRING = 3
    SIZE = 4
    PID = 5
    INT = 6
    INT8 = 7
    INT16 = 8
    INT32 = 9
    INT64 = 10
    UINT = 11
    UINT8 = 12
    UINT16 = 13
    UINT32 = 14
    UINT64 = 15
    FLOAT = 16
    DOUBLE = 17
    TIMEVAL = 18
    TIME = 19
    STATUS = 20
    VALUE = 21
    PROC = 22
    APP = 23
    INFO = 24
    PDATA = 25
    BYTE_OBJECT = 27
    KVAL = 28
    PERSIST = 30
    POINTER = 31
    SCOPE = 32
    DATA_RANGE = 33
    COMMAND = 34
    INFO_DIRECTIVES = 35
    DATA_TYPE = 36
    PROC_STATE = 37
    PROC_INFO = 38
    DATA_ARRAY = 39
    PROC_RANK = 40
    QUERY = 41
    COMPRESSED_STRING = 42
    ALLOC_DIRECTIVE = 43
    IOF_CHANNEL = 45
    ENVAR = 46
    COORD = 47
    REGATTR = 48
    REGEX = 49
    JOB_STATE = 50
    LINK_STATE = 51
    PROC_CPUSET = 52
    GEOMETRY = 53
    DEVICE_DIST = 54
    ENDPOINT = 55
    TOPO = 56
    DEVTYPE = 57
    LOCTYPE = 58
    COMPRESSED_BYTE_OBJECT = 59
    PROC_NSPACE = 60
    PROC_STATS = 61
    DISK_STATS = 62
    NET_STATS = 63
    NODE_STATS = 64
    DATA_BUFFER = 65
    STOR_MEDIUM = 66
    STOR_ACCESS = 67
    STOR_PERSIST = 68
    STOR_ACCESS_TYPE = 69


class Scope(IntEnum):
    """`pmix_scope_t`: who may read a value that was put."""

    UNDEF = 0
    LOCAL = 1
    REMOTE = 2
    GLOBAL = 3
    INTERNAL = 4


class Range(IntEnum):
    """`pmix_data_range_t`: who sees published data or an event."""

    UNDEF = 0
    RM = 1
    LOCAL = 2
    NAMESPACE = 3
    SESSION = 4
    GLOBAL = 5
    CUSTOM = 6
    PROC_LOCAL = 7
    INVALID = 255


class Persistence(IntEnum):
    """`pmix_persistence_t`: how long published data stays."""

    INDEFINITE = 0
    FIRST_READ = 1
    PROCESS = 2
    APPLICATION = 3
    SESSION = 4
    INVALID = 255


class IofChannel(IntFlag):
    """`pmix_iof_channel_t`."""

    NONE = 0
    STDIN = 1
    STDOUT = 2
    STDERR = 4
    STDDIAG = 8


class GroupOperation(IntEnum):
    """`pmix_group_operation_t`."""

    CONSTRUCT = 0
    DESTRUCT = 1
    NONE = 2


class Proc(NamedTuple):
    """`pmix_proc_t`: one process, or with a wildcard rank every process of a namespace."""

    nspace: str
    rank: int

    def __str__(self) -> str:
        special = {RANK_WILDCARD: "*", RANK_UNDEF: "?"}.get(self.rank)
        return f"{self.nspace}:{special or self.rank}"


class Value(Record):
    """A value whose type is stated and not taken from its key (`pmix_value_t`)."""

    type: DataType
    data: Any


class DataArray(Record):
    """`pmix_data_array_t`: items of one type; items may be data arrays' infos, to any depth."""

    type: DataType
    items: tuple[Any, ...]


class Info(Record):
    """`pmix_info_t`: a key with its typed value; `required` is the PMIX_INFO_REQD flag."""

    key: str
    value: Any
    type: DataType = DataType.UNDEF  # UNDEF: the type that the Standard gives the key
    required: bool = False


Infos: TypeAlias = tuple[Info, ...]
# What callers may write where libpmix takes an array of infos: {key: value} or a sequence of Info.
Directives: TypeAlias = "Mapping[Any, Any] | Iterable[Info | Rows]"


class Column(Record):
    """One attribute for many processes: its values in rank order, or one value for all.

    `values` is an `array.array` whose item is as wide as `type`, or a bool or int for every row.
    """

    key: str
    type: DataType
    values: Any


class Rows(Record):
    """Many info arrays of one shape, e.g. PMIX_PROC_INFO_ARRAY of each of 100,000 ranks.

    Stands for `count` infos named `key`, each holding a data array of one info a column.
    """

    key: str
    count: int
    columns: tuple[Column, ...]


_MISSING: Any = object()


def find(infos: Iterable[Info], key: str, default: Any = None) -> Any:
    """Return the value of the first info named `key`, or `default`."""
    for info in infos:
        if info.key == key:
            return info.value
    return default


def is_true(infos: Iterable[Info], key: str) -> bool:
    """Whether a boolean directive is given and true.

    A directive without a value (PMIX_UNDEF, as old clients pass PMIX_COLLECT_DATA) means true:
    Standard 4.2, section 3.2.10.
    """
    value = find(infos, key, _MISSING)
    return value is not _MISSING and (value is None or bool(value))


class Regex(Record):
    """What PMIx_generate_regex made: opaque bytes that may hold NULs (see `raw:` and `blob:`)."""

    data: bytes


class Envar(NamedTuple):
    """`pmix_envar_t`."""

    name: str
    value: str
    separator: str = ":"


class Timeval(NamedTuple):
    """`struct timeval`: seconds and microseconds."""

    seconds: int
    microseconds: int


class Cpuset(NamedTuple):
    """`pmix_cpuset_t`: its source ("hwloc") and the address of the bitmap its library made.

    Text forms are `Server.cpuset_string` and `Server.locality_string`.
    """

    source: str
    address: int


class Topology(NamedTuple):
    """`pmix_topology_t`: its source ("hwloc") and the address of what the source's library made."""

    source: str
    address: int


class AppSpec(Record):
    """`pmix_app_t`: one application of a spawn request."""

    command: str
    argv: tuple[str, ...] = ()
    env: tuple[str, ...] = ()  # "NAME=VALUE"
    cwd: str | None = None
    maxprocs: int = 1
    directives: Infos = ()


class QueryItem(Record):
    """`pmix_query_t`: keys asked for under common qualifiers."""

    keys: tuple[str, ...]
    qualifiers: Infos = ()


class Published(NamedTuple):
    """`pmix_pdata_t`: a published value with its publisher."""

    proc: Proc
    key: str
    value: Any  # a Python value, or a Value where the type must be kept
