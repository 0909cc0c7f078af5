"""Values both ways: Python objects to `pmix_value_t` and `pmix_info_t` arrays, and back.

Used by `server.py`, `client.py` and what belongs to them. Memory: what is made here belongs to cffi
and lives as long as the object that made it (libpmix copies what it keeps); what libpmix hands out is
copied here and stays libpmix's. Nothing that comes in can raise: a type that nobody knows becomes a
`Value` with its raw bytes. Standard 4.2, chapter 3.

| type | in Python |
| --- | --- |
| BOOL, integers, SIZE, PID, TIME, PROC_RANK, STATUS, enumerations | bool, int |
| FLOAT, DOUBLE | float |
| STRING, PROC_NSPACE | str |
| BYTE_OBJECT, COMPRESSED_BYTE_OBJECT | bytes |
| COMPRESSED_STRING | str |
| PROC, ENVAR, TIMEVAL, REGEX, PROC_CPUSET, TOPO, INFO | Proc, Envar, Timeval, Regex, Cpuset, Topology, Info |
| DATA_ARRAY | DataArray (a tuple or list of infos, procs, str, ... may be given) |
| PROC_INFO, COORD, GEOMETRY, DEVICE_DIST, ENDPOINT | the classes of their names in `structures.py` |
"""

from __future__ import annotations

from struct import Struct

from fluxpmix.pmix import attributes
from fluxpmix.pmix.light import Iterable, Mapping
from fluxpmix.pmix.types import (
    LARGEST_VALUE,
    MAX_KEYLEN,
    MAX_NSLEN,
    Cpuset,
    DataArray,
    DataType,
    Directives,
    Envar,
    Info,
    Infos,
    Proc,
    Regex,
    Rows,
    Timeval,
    Topology,
    Value,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from fluxpmix.pmix.library import Library

_REQUIRED = 1  # PMIX_INFO_REQD
_POINTER_BITS = 64
_HIGHEST_RANK = 0xFFFFFFFF
_HIGHEST_FLOAT = 3.4028234663852886e38
_INFINITY = float("inf")

# Members of the value's union that hold a number as it is: (member, C type, lowest, highest).
_NUMBERS: dict[int, tuple[str, str, int, int]] = {}
for _name, _member, _ctype, _bits, _signed in (
    ("BYTE", "byte", "uint8_t", 8, False),
    ("SIZE", "size", "size_t", _POINTER_BITS, False),
    ("PID", "pid", "pid_t", 32, True),
    ("INT", "integer", "int", 32, True),
    ("INT8", "int8", "int8_t", 8, True),
    ("INT16", "int16", "int16_t", 16, True),
    ("INT32", "int32", "int32_t", 32, True),
    ("INT64", "int64", "int64_t", 64, True),
    ("UINT", "uint", "unsigned int", 32, False),
    ("UINT8", "uint8", "uint8_t", 8, False),
    ("UINT16", "uint16", "uint16_t", 16, False),
    ("UINT32", "uint32", "uint32_t", 32, False),
    ("UINT64", "uint64", "uint64_t", 64, False),
    ("TIME", "time", "time_t", 64, True),
    ("STATUS", "status", "int", 32, True),
    ("PERSIST", "persist", "uint8_t", 8, False),
    ("SCOPE", "scope", "uint8_t", 8, False),
    ("DATA_RANGE", "range", "uint8_t", 8, False),
    ("COMMAND", "uint8", "uint8_t", 8, False),
    ("INFO_DIRECTIVES", "uint32", "uint32_t", 32, False),
    ("DATA_TYPE", "uint16", "uint16_t", 16, False),
    ("PROC_STATE", "state", "uint8_t", 8, False),
    ("PROC_RANK", "rank", "uint32_t", 32, False),
    ("ALLOC_DIRECTIVE", "adir", "uint8_t", 8, False),
    ("IOF_CHANNEL", "uint16", "uint16_t", 16, False),
    ("JOB_STATE", "jstate", "uint8_t", 8, False),
    ("LINK_STATE", "linkstate", "uint8_t", 8, False),
    ("DEVTYPE", "devtype", "uint64_t", 64, False),
    ("LOCTYPE", "locality", "uint16_t", 16, False),
    ("STOR_MEDIUM", "uint64", "uint64_t", 64, False),
    ("STOR_ACCESS", "uint64", "uint64_t", 64, False),
    ("STOR_PERSIST", "uint64", "uint64_t", 64, False),
    ("STOR_ACCESS_TYPE", "uint16", "uint16_t", 16, False),
):
    _low, _high = (-(1 << _bits - 1), (1 << _bits - 1) - 1) if _signed else (0, (1 << _bits) - 1)
    _NUMBERS[DataType[_name]] = (_member, _ctype, _low, _high)

_KEYS: dict[str, bytes] = {}  # of the Standard's attributes that have been used, as C has them
_PROC = Struct("256sI")  # pmix_proc_t
_TYPES: dict[int, DataType] = {int(each): each for each in DataType}


# -- the public face ---------------------------------------------------------------------------------


class InfoArray:
    """An array of `pmix_info_t` for a call: `pointer` (NULL where empty) and `count`.

    Its memory goes with it, or at `close`; hold it until libpmix is done with the call.
    """

    def __init__(self, library: Library, items: Sequence[Info | Rows]) -> None:
        ffi = library.ffi
        self._keep: list[Any] = []
        self.count = sum(item.count if isinstance(item, Rows) else 1 for item in items)
        self.pointer = ffi.new("pmix_info_t[]", self.count) if self.count else ffi.NULL
        at = 0
        for item in items:
            if isinstance(item, Rows):
                from fluxpmix.pmix.rows import fill_rows

                fill_rows(ffi, self.pointer + at, item, self._keep)
                at += item.count
            else:
                fill_info(ffi, self.pointer[at], item, self._keep)
                at += 1

    def close(self) -> None:
        """Let the memory go."""
        self.pointer = None
        self.count = 0
        self._keep.clear()

    def __enter__(self) -> InfoArray:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ProcArray:
    """An array of `pmix_proc_t` for a call: `pointer` (NULL where empty) and `count`."""

    def __init__(self, library: Library, procs: Sequence[Proc]) -> None:
        ffi = library.ffi
        self.count = len(procs)
        self.pointer = ffi.new("pmix_proc_t[]", self.count) if procs else ffi.NULL
        for at, proc in enumerate(procs):
            fill_proc(self.pointer[at], proc)


def infos(library: Library, directives: Directives | None) -> InfoArray:
    """Build the C array for directives or data. ValueError names the key and value that do not fit."""
    if directives is None:
        return InfoArray(library, ())
    if isinstance(directives, Mapping):
        return InfoArray(library, [Info(key, value) for key, value in directives.items()])
    return InfoArray(library, list(directives))


def decode_infos(library: Library, pointer: Any, count: int) -> Infos:
    """Copy an array of `pmix_info_t`."""
    if not pointer:
        return ()
    return tuple([_decode_info(library.ffi, pointer[at]) for at in range(count)])


def decode_value(library: Library, pointer: Any) -> Any:
    """Copy what a `pmix_value_t` holds; None for a NULL pointer or an undefined value."""
    if not pointer:
        return None
    return _decode(library.ffi, pointer[0])


def decode_procs(library: Library, pointer: Any, count: int) -> tuple[Proc, ...]:
    """Copy an array of `pmix_proc_t`."""
    if not pointer:
        return ()
    found = []
    last, nspace = b"", ""
    for coded, rank in _PROC.iter_unpack(library.ffi.buffer(pointer, count * _PROC.size)):
        if coded != last:  # they are nearly always all of one
            last, nspace = coded, coded.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        found.append(Proc(nspace, rank))
    return tuple(found)


def encode_value(library: Library, value: Any, type_: DataType = DataType.UNDEF, key: str = "") -> tuple[Any, Any]:
    """Return a `pmix_value_t *` for `value` and what must be held as long as it is used."""
    keep: list[Any] = []
    pointer = library.ffi.new("pmix_value_t *")
    _encode(library.ffi, pointer[0], key, value, type_, keep)
    return pointer, keep


def resolve(key: str, value: Any, type_: DataType) -> tuple[DataType, Any]:
    """Return the type of a value and its bare data: stated, the key's, or the Python type's.

    A number whose key says nothing is INT64 (UINT64 where it needs to be), as Python's have no size.
    """
    if isinstance(value, Value):
        return value.type, value.data
    if value is None:
        return DataType.UNDEF, None
    if type_ is DataType.UNDEF:
        type_ = attributes.type_of(key)
    if type_ is not DataType.UNDEF:
        return type_, value
    return _inferred(key, value), value


# -- into C ------------------------------------------------------------------------------------------


def fill_info(ffi: Any, info: Any, item: Info, keep: list[Any]) -> None:
    """Write one info; what it points to goes on `keep`."""
    info.key = key_bytes(item.key)
    info.flags = _REQUIRED if item.required else 0
    _encode(ffi, info.value, item.key, item.value, item.type, keep)


def fill_proc(struct: Any, proc: Proc, key: str = "") -> None:
    """Write one process name. ValueError names `key`, where it is given, and what does not fit."""
    struct.nspace = _nspace(key, proc.nspace)
    if type(proc.rank) is int and 0 <= proc.rank <= _HIGHEST_RANK:
        struct.rank = proc.rank
        return
    what = f"{key}: rank in {proc.nspace!r}" if key else f"rank in {proc.nspace!r}"
    struct.rank = number(what, proc.rank, DataType.PROC_RANK, 0, _HIGHEST_RANK)


def key_bytes(key: str) -> bytes:
    """Return a key as C has it. ValueError where it is empty, too long or holds a NUL."""
    coded = _KEYS.get(key)
    if coded is not None:
        return coded
    coded = _utf8("key", key)
    if not coded or len(coded) > MAX_KEYLEN or b"\0" in coded:
        raise ValueError(f"key {key[:80]!r}: 1 to {MAX_KEYLEN} bytes, none of them NUL (it has {len(coded)})")
    if type(key) is attributes.Attribute:
        _KEYS[key] = coded
    return coded


def c_string(ffi: Any, key: str, text: Any, keep: list[Any]) -> Any:
    """Return a `char *` for `text`."""
    coded = _utf8(key, text)
    if b"\0" in coded:
        raise ValueError(f"{_named(key)}: {_shown(text)} holds a NUL character; pass bytes where they are meant")
    memory = ffi.new("char[]", coded)
    keep.append(memory)
    return memory


def c_bytes(ffi: Any, key: str, data: Any, keep: list[Any]) -> tuple[Any, int]:
    """Return memory and size of a copy of `data`, NULL and 0 where it is empty."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ValueError(f"{_named(key)}: bytes are wanted, {_shown(data)} is a {type(data).__name__}")
    if memoryview(data).nbytes > LARGEST_VALUE:
        raise ValueError(
            f"{_named(key)}: {len(data)} bytes are too many, libpmix takes {LARGEST_VALUE} at most: split them"
        )
    copied = bytes(data)
    if not copied:
        return ffi.NULL, 0
    memory = ffi.new("char[]", copied)
    keep.append(memory)
    return memory, len(copied)


def _encode(ffi: Any, struct: Any, key: str, value: Any, type_: DataType, keep: list[Any]) -> None:
    type_, value = resolve(key, value, type_)
    try:
        _write(ffi, struct, key, value, type_, keep)
    except (TypeError, AttributeError, IndexError, OverflowError) as error:
        raise _misfit(key, value, type_, error) from None


def _write(ffi: Any, struct: Any, key: str, value: Any, type_: DataType, keep: list[Any]) -> None:
    struct.type = int(type_)
    data = struct.data
    if type_ is DataType.UNDEF:
        return
    if type_ in _NUMBERS:
        member, _, low, high = _NUMBERS[type_]
        setattr(data, member, number(key, value, type_, low, high))
    elif type_ is DataType.BOOL:
        data.flag = _flag(key, value)
    elif type_ is DataType.STRING:
        data.string = c_string(ffi, key, value, keep)
    elif type_ in (DataType.FLOAT, DataType.DOUBLE):
        setattr(data, "fval" if type_ is DataType.FLOAT else "dval", _float(key, value, type_))
    elif type_ is DataType.TIMEVAL:
        _fill_timeval(data.tv, key, value)
    elif type_ is DataType.POINTER:
        data.ptr = ffi.cast("void *", number(key, value, type_, 0, (1 << _POINTER_BITS) - 1))
    elif type_ in _BLOBS:
        data.bo.bytes, data.bo.size = c_bytes(ffi, key, _blob(type_, value), keep)
    elif type_ is DataType.REGEX:
        data.bo.bytes, data.bo.size = c_bytes(ffi, key, _regex(key, value), keep)
    elif type_ is DataType.ENVAR:
        _fill_envar(ffi, data.envar, key, value, keep)
    elif type_ is DataType.PROC_NSPACE:
        memory = ffi.new("char[256]", _nspace(key, value))
        keep.append(memory)
        data.nspace = memory
    elif type_ is DataType.DATA_ARRAY:
        array = ffi.new("pmix_data_array_t *")
        keep.append(array)
        _fill_array(ffi, array[0], key, value, keep)
        data.darray = array
    elif type_ in _POINTED:
        # A single struct that the value points to: an array of one.
        ctype, fill = _ARRAY_ITEMS[type_]
        memory = ffi.new(f"{ctype}[1]")
        keep.append(memory)
        fill(ffi, memory, 0, key, value, keep)
        data.ptr = ffi.cast("void *", memory)
    else:
        in_array = " on its own: put it into a tuple" if type_ in _ARRAY_ITEMS else ""
        raise ValueError(f"{_named(key)}: no value of type {_type_name(type_)} can be made{in_array}")


def _named(key: str) -> str:
    return key[:80] or "value"


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _type_name(type_: int) -> str:
    return getattr(type_, "name", None) or str(int(type_))


def _misfit(key: str, value: Any, type_: int, reason: object) -> ValueError:
    return ValueError(f"{_named(key)}: {_shown(value)} does not make a {_type_name(type_)}: {reason}")


def _utf8(key: str, text: Any) -> bytes:
    """Return text as libpmix has it; what `_text` could not read comes out as it came in."""
    if not isinstance(text, str):
        raise ValueError(f"{_named(key)}: a string is wanted, {_shown(text)} is a {type(text).__name__}")
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ValueError(f"{_named(key)}: {_shown(text)} cannot be UTF-8: {error.reason}") from None


def _nspace(key: str, nspace: Any) -> bytes:
    coded = _utf8(key, nspace)
    if len(coded) > MAX_NSLEN or b"\0" in coded:
        where = f"{key}: " if key else ""
        raise ValueError(f"{where}namespace {_shown(nspace)}: at most {MAX_NSLEN} bytes, none of them NUL")
    return coded


def number(key: str, value: Any, type_: DataType, low: int, high: int) -> int:
    """Return `value` as an int within a C type's range; ValueError names key, value and range."""
    if not isinstance(value, int):
        raise ValueError(
            f"{_named(key)}: an integer ({type_.name}) is wanted, {_shown(value)} is a {type(value).__name__}"
        )
    if not low <= value <= high:
        raise ValueError(f"{_named(key)}: {_shown(int(value))} does not fit {type_.name}: {low} to {high}")
    return int(value)


def _flag(key: str, value: Any) -> bool:
    # Not the truth of just anything: "false" would be true.
    if not isinstance(value, int) or value not in (0, 1):
        raise ValueError(f"{_named(key)}: True or False is wanted, {_shown(value)} is a {type(value).__name__}")
    return bool(value)


def _float(key: str, value: Any, type_: DataType) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{_named(key)}: a number is wanted, {_shown(value)} is a {type(value).__name__}")
    if type_ is DataType.FLOAT and _HIGHEST_FLOAT < abs(value) < _INFINITY:
        raise ValueError(f"{_named(key)}: {_shown(value)} does not fit FLOAT: at most {_HIGHEST_FLOAT}; use DOUBLE")
    return float(value)


_BLOBS = (DataType.BYTE_OBJECT, DataType.COMPRESSED_STRING, DataType.COMPRESSED_BYTE_OBJECT)


def _blob(type_: DataType, value: Any) -> Any:
    if type_ in (DataType.COMPRESSED_STRING, DataType.COMPRESSED_BYTE_OBJECT):
        return compressed(value.encode() if isinstance(value, str) else value)
    return value


def _regex(key: str, value: Any) -> Any:
    data = value.data if isinstance(value, Regex) else value.encode() if isinstance(value, str) else value
    if not data:
        raise _misfit(key, value, DataType.REGEX, "give what Server.generate_regex returns")
    return data if data.endswith(b"\0") else data + b"\0"


def compressed(data: bytes) -> bytes:
    """Return `data` as libpmix compresses it: its size in four bytes, then a zlib stream."""
    import sys
    import zlib

    return len(data).to_bytes(4, sys.byteorder) + zlib.compress(data)


def decompressed(data: bytes) -> bytes:
    """Undo `compressed`. ValueError where it is no such thing."""
    import sys
    import zlib

    size = int.from_bytes(data[:4], sys.byteorder)
    worker = zlib.decompressobj()
    try:
        plain = worker.decompress(data[4:], size + 1)
    except zlib.error as error:
        raise ValueError(f"not a compressed value: {error}") from None
    if len(plain) != size or not worker.eof:
        raise ValueError(f"a compressed value of {size} bytes holds {len(plain)}, or is cut short")
    return plain


def _fill_envar(ffi: Any, struct: Any, key: str, value: Any, keep: list[Any]) -> None:
    if not isinstance(value, tuple | list):
        raise _misfit(key, value, DataType.ENVAR, "an Envar is wanted")
    name, text, separator = Envar(*value)
    if len(separator) > 1 or separator > "\xff":
        raise _misfit(key, value, DataType.ENVAR, "its separator is one character of one byte, or none")
    struct.envar = c_string(ffi, key, name, keep)
    struct.value = c_string(ffi, key, text, keep)
    struct.separator = separator.encode("latin-1") or b"\0"


def _fill_timeval(struct: Any, key: str, value: Any) -> None:
    if not isinstance(value, tuple | list):
        raise _misfit(key, value, DataType.TIMEVAL, "a Timeval is wanted")
    low, high = -(1 << 63), (1 << 63) - 1
    seconds, microseconds = Timeval(*value)
    struct.tv_sec = number(key, seconds, DataType.TIMEVAL, low, high)
    struct.tv_usec = number(key, microseconds, DataType.TIMEVAL, low, high)


def _fill_array(ffi: Any, struct: Any, key: str, value: Any, keep: list[Any]) -> None:
    type_, items = _array_parts(key, value)
    struct.type = int(type_)
    struct.size = len(items)
    struct.array = ffi.cast("void *", _items(ffi, key, type_, items, keep)) if items else ffi.NULL


def _array_parts(key: str, value: Any) -> tuple[DataType, Sequence[Any]]:
    if isinstance(value, DataArray):
        return value.type, tuple(value.items)
    if isinstance(value, Mapping):
        return DataType.INFO, [Info(name, each) for name, each in value.items()]
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | bytearray | memoryview):
        raise ValueError(
            f"{_named(key)}: a DataArray or a sequence is wanted, {_shown(value)} is a {type(value).__name__}"
        )
    items = list(value)
    return (_inferred(key, items[0]) if items else DataType.INFO), items


def _items(ffi: Any, key: str, type_: DataType, items: Sequence[Any], keep: list[Any]) -> Any:
    """Return a C array of `items`."""
    if type_ in _NUMBERS:
        _, ctype, low, high = _NUMBERS[type_]
        memory = ffi.new(f"{ctype}[]", [number(key, item, type_, low, high) for item in items])
    else:
        ctype, fill = _ARRAY_ITEMS.get(type_, ("", None))
        if fill is None or type_ in _NO_ARRAY:
            why = ", as libpmix cannot carry one: put each into an info of its own" if type_ in _NO_ARRAY else ""
            raise ValueError(f"{_named(key)}: no data array of type {_type_name(type_)} can be made{why}")
        declared = f"char[{len(items)}][256]" if type_ is DataType.PROC_NSPACE else f"{ctype}[{len(items)}]"
        memory = ffi.new(declared)
        for at, item in enumerate(items):
            try:
                fill(ffi, memory, at, key, item, keep)
            except (TypeError, AttributeError, IndexError, OverflowError) as error:
                raise _misfit(key, item, type_, error) from None
    keep.append(memory)
    return memory


def _put_bo(ffi: Any, memory: Any, at: int, key: str, item: Any, keep: list[Any]) -> None:
    memory[at].bytes, memory[at].size = c_bytes(ffi, key, _blob(DataType.BYTE_OBJECT, item), keep)


def _put_string(ffi: Any, memory: Any, at: int, key: str, item: Any, keep: list[Any]) -> None:
    memory[at] = c_string(ffi, key, item, keep)


def _put_flag(_ffi: Any, memory: Any, at: int, key: str, item: Any, _keep: list[Any]) -> None:
    memory[at] = _flag(key, item)


def _put_float(_ffi: Any, memory: Any, at: int, key: str, item: Any, _keep: list[Any]) -> None:
    memory[at] = _float(key, item, DataType.FLOAT)


def _put_double(_ffi: Any, memory: Any, at: int, key: str, item: Any, _keep: list[Any]) -> None:
    memory[at] = _float(key, item, DataType.DOUBLE)


def _put_timeval(_ffi: Any, memory: Any, at: int, key: str, item: Any, _keep: list[Any]) -> None:
    _fill_timeval(memory[at], key, item)


def _put_proc(_ffi: Any, memory: Any, at: int, key: str, item: Any, _keep: list[Any]) -> None:
    fill_proc(memory[at], item, key)


def _put_nspace(_ffi: Any, memory: Any, at: int, key: str, item: Any, _keep: list[Any]) -> None:
    memory[at] = _nspace(key, item)


def _put_info(ffi: Any, memory: Any, at: int, _key: str, item: Any, keep: list[Any]) -> None:
    fill_info(ffi, memory[at], item, keep)


def _put_value(ffi: Any, memory: Any, at: int, key: str, item: Any, keep: list[Any]) -> None:
    _encode(ffi, memory[at], key, item, DataType.UNDEF, keep)


def _put_envar(ffi: Any, memory: Any, at: int, key: str, item: Any, keep: list[Any]) -> None:
    _fill_envar(ffi, memory[at], key, item, keep)


def _put_array(ffi: Any, memory: Any, at: int, key: str, item: Any, keep: list[Any]) -> None:
    _fill_array(ffi, memory[at], key, item, keep)


def _put_topology(ffi: Any, memory: Any, at: int, key: str, item: Any, keep: list[Any]) -> None:
    memory[at].source = c_string(ffi, key, item.source, keep)
    memory[at].topology = _address(ffi, key, item, DataType.TOPO)


def _put_cpuset(ffi: Any, memory: Any, at: int, key: str, item: Any, keep: list[Any]) -> None:
    memory[at].source = c_string(ffi, key, item.source, keep)
    memory[at].bitmap = _address(ffi, key, item, DataType.PROC_CPUSET)


def _address(ffi: Any, key: str, item: Any, type_: DataType) -> Any:
    if not item.address:
        raise _misfit(key, item, type_, "libpmix reads what is at its address, which must not be 0")
    return ffi.cast("void *", item.address)


def _put_structure(ffi: Any, memory: Any, at: int, key: str, item: Any, keep: list[Any]) -> None:
    from fluxpmix.pmix.structures import fill

    fill(ffi, memory[at], key, item, keep)


# Types that are no plain numbers: how an array of each is declared and how an item is written.
_ARRAY_ITEMS: dict[DataType, tuple[str, Any]] = {
    DataType.STRING: ("char *", _put_string),
    DataType.BOOL: ("bool", _put_flag),
    DataType.FLOAT: ("float", _put_float),
    DataType.DOUBLE: ("double", _put_double),
    DataType.TIMEVAL: ("struct timeval", _put_timeval),
    DataType.PROC: ("pmix_proc_t", _put_proc),
    DataType.PROC_NSPACE: ("char", _put_nspace),
    DataType.INFO: ("pmix_info_t", _put_info),
    DataType.VALUE: ("pmix_value_t", _put_value),
    DataType.BYTE_OBJECT: ("pmix_byte_object_t", _put_bo),
    DataType.REGEX: ("pmix_byte_object_t", _put_bo),
    DataType.ENVAR: ("pmix_envar_t", _put_envar),
    DataType.DATA_ARRAY: ("pmix_data_array_t", _put_array),
    DataType.TOPO: ("pmix_topology_t", _put_topology),
    DataType.PROC_CPUSET: ("pmix_cpuset_t", _put_cpuset),
    DataType.PROC_INFO: ("pmix_proc_info_t", _put_structure),
    DataType.COORD: ("pmix_coord_t", _put_structure),
    DataType.GEOMETRY: ("pmix_geometry_t", _put_structure),
    DataType.DEVICE_DIST: ("pmix_device_distance_t", _put_structure),
    DataType.ENDPOINT: ("pmix_endpoint_t", _put_structure),
}

# Of these a value points to one; of the others there are only arrays.
_POINTED = frozenset(
    {
        DataType.PROC,
        DataType.TOPO,
        DataType.PROC_CPUSET,
        DataType.PROC_INFO,
        DataType.COORD,
        DataType.GEOMETRY,
        DataType.DEVICE_DIST,
        DataType.ENDPOINT,
    }
)
# Of these libpmix (4.2, 5.0) cannot copy or free an array, and crashes when one comes over the wire.
_NO_ARRAY = frozenset({DataType.REGEX, DataType.TOPO, DataType.DATA_ARRAY, DataType.GEOMETRY})


_KINDS: tuple[tuple[Any, DataType], ...] = (
    (bool, DataType.BOOL),
    (int, DataType.INT64),
    (str, DataType.STRING),
    (float, DataType.DOUBLE),
    (Proc, DataType.PROC),
    (Envar, DataType.ENVAR),
    (Timeval, DataType.TIMEVAL),
    (Topology, DataType.TOPO),
    (Cpuset, DataType.PROC_CPUSET),
    (bytes, DataType.BYTE_OBJECT),
    (bytearray, DataType.BYTE_OBJECT),
    (memoryview, DataType.BYTE_OBJECT),
    (Regex, DataType.REGEX),
    (Info, DataType.INFO),
    (Value, DataType.VALUE),
    (DataArray, DataType.DATA_ARRAY),
    (Mapping, DataType.DATA_ARRAY),
    (tuple, DataType.DATA_ARRAY),
    (list, DataType.DATA_ARRAY),
)


def _inferred(key: str, value: Any) -> DataType:
    for kind, type_ in _KINDS:
        if isinstance(value, kind):
            return DataType.UINT64 if type_ is DataType.INT64 and value > (1 << 63) - 1 else type_
    from fluxpmix.pmix.structures import type_of

    found = type_of(value)
    if found is None:
        raise ValueError(f"{_named(key)}: PMIx has no type for {_shown(value)}, a {type(value).__name__}")
    return found


# -- out of C ----------------------------------------------------------------------------------------


def decode_proc(ffi: Any, struct: Any) -> Proc:
    """Copy one process name."""
    return Proc(_text(ffi, struct.nspace) or "", struct.rank)


def _text(ffi: Any, pointer: Any) -> str | None:
    return ffi.string(pointer).decode("utf-8", "surrogateescape") if pointer else None


def _bytes(ffi: Any, struct: Any) -> bytes:
    return bytes(ffi.buffer(struct.bytes, struct.size)) if struct.bytes and struct.size else b""


def _decode_info(ffi: Any, struct: Any) -> Info:
    type_ = _TYPES.get(struct.value.type, DataType.UNDEF)
    key = _text(ffi, struct.key) or ""
    return Info(key, _decode(ffi, struct.value), type_, bool(struct.flags & _REQUIRED))


def _decode(ffi: Any, struct: Any) -> Any:
    number_of = _NUMBERS.get(struct.type)
    data = struct.data
    if number_of is not None:
        return getattr(data, number_of[0])
    type_ = _TYPES.get(struct.type)
    if type_ is None:
        return Value(struct.type, bytes(ffi.buffer(data.raw)))
    if type_ is DataType.UNDEF:
        return None
    if type_ is DataType.BOOL:
        # C's own bool is 0 or 1, what a peer sends may be anything.
        return data.uint8 != 0
    if type_ is DataType.STRING:
        return _text(ffi, data.string)
    if type_ in (DataType.FLOAT, DataType.DOUBLE):
        return data.fval if type_ is DataType.FLOAT else data.dval
    if type_ is DataType.TIMEVAL:
        return Timeval(data.tv.tv_sec, data.tv.tv_usec)
    if type_ is DataType.POINTER:
        return int(ffi.cast("uintptr_t", data.ptr))
    if type_ is DataType.REGEX:
        return Regex(_regex_bytes(ffi, data.bo.bytes))
    if type_ in _BLOBS:
        return _decode_blob(type_, _bytes(ffi, data.bo))
    if type_ is DataType.ENVAR:
        return _decode_envar(ffi, data.envar)
    if type_ is DataType.PROC_NSPACE:
        return _text(ffi, data.nspace)
    if type_ is DataType.DATA_ARRAY:
        return _decode_array(ffi, data.darray[0]) if data.darray else DataArray(DataType.UNDEF, ())
    if not data.ptr:
        return None
    return _decode_pointed(ffi, type_, data.ptr)


def _decode_blob(type_: DataType, data: bytes) -> Any:
    if type_ is DataType.BYTE_OBJECT:
        return data
    try:
        plain = decompressed(data)
    except ValueError:
        return Value(type_, data)
    return plain.decode("utf-8", "surrogateescape") if type_ is DataType.COMPRESSED_STRING else plain


def _regex_bytes(ffi: Any, start: Any) -> bytes:
    """Copy a regex by what it says itself: off the wire libpmix (4.2, 5.0) leaves its size unset."""
    if not start:
        return b""
    text = ffi.string(start)
    if text != b"blob:":
        return bytes(text) + b"\0"
    size = len(text) + 1
    for _ in range(2):  # "component=zlib:", "size=5047:", each with its NUL
        text = ffi.string(start + size)
        size += len(text) + 1
    count = text.removeprefix(b"size=").removesuffix(b":")
    return bytes(ffi.buffer(start, size + int(count))) if count.isdigit() else b"blob:\0"


def _decode_envar(ffi: Any, struct: Any) -> Envar:
    separator = struct.separator.decode("latin-1").strip("\0")
    return Envar(_text(ffi, struct.envar) or "", _text(ffi, struct.value) or "", separator)


def _decode_pointed(ffi: Any, type_: DataType, pointer: Any) -> Any:
    """Copy a struct that a value points to."""
    declared = _ARRAY_ITEMS.get(type_)
    if declared is None:
        return Value(type_, int(ffi.cast("uintptr_t", pointer)))
    return _decode_item(ffi, type_, ffi.cast(f"{declared[0]} *", pointer), 0)


def _decode_array(ffi: Any, struct: Any) -> DataArray:
    type_ = _TYPES.get(struct.type)
    size = struct.size
    if type_ is None or not struct.array:
        return DataArray(type_ if type_ is not None else struct.type, ())
    number_of = _NUMBERS.get(type_)
    if number_of is not None:
        return DataArray(type_, tuple(ffi.unpack(ffi.cast(f"{number_of[1]} *", struct.array), size)))
    declared = _ARRAY_ITEMS.get(type_)
    if declared is None:
        return DataArray(type_, ())
    pointer = ffi.cast(f"{'uint8_t' if type_ is DataType.BOOL else declared[0]} *", struct.array)
    if type_ is DataType.PROC_NSPACE:
        pointer = ffi.cast("char (*)[256]", struct.array)
    return DataArray(type_, tuple([_decode_item(ffi, type_, pointer, at) for at in range(size)]))


def _decode_item(ffi: Any, type_: DataType, pointer: Any, at: int) -> Any:
    item = pointer[at]
    if type_ in (DataType.STRING, DataType.PROC_NSPACE):
        return _text(ffi, item)
    if type_ is DataType.BOOL:
        return item != 0
    if type_ in (DataType.FLOAT, DataType.DOUBLE):
        return item
    if type_ is DataType.TIMEVAL:
        return Timeval(item.tv_sec, item.tv_usec)
    if type_ is DataType.PROC:
        return decode_proc(ffi, item)
    if type_ is DataType.INFO:
        return _decode_info(ffi, item)
    if type_ is DataType.VALUE:
        inner = _decode(ffi, item)
        return inner if isinstance(inner, Value) else Value(_TYPES[item.type], inner)
    if type_ in _BLOBS:
        return _decode_blob(type_, _bytes(ffi, item))
    if type_ is DataType.ENVAR:
        return _decode_envar(ffi, item)
    if type_ is DataType.DATA_ARRAY:
        return _decode_array(ffi, item)
    if type_ is DataType.TOPO:
        return Topology(_text(ffi, item.source) or "", int(ffi.cast("uintptr_t", item.topology)))
    if type_ is DataType.PROC_CPUSET:
        return Cpuset(_text(ffi, item.source) or "", int(ffi.cast("uintptr_t", item.bitmap)))
    from fluxpmix.pmix.structures import read

    return read(ffi, type_, item)
