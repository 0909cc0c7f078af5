"""The C declarations are those of libpmix: compiled afresh, the same sizes, numbers and functions."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from installed import VERSIONS
from live import c_values, headers, library, lone_server

from fluxpmix.pmix import _declarations, attributes, declarations, module_table, types
from fluxpmix.pmix.declarations import CDEF
from fluxpmix.pmix.types import DataType

pytestmark = pytest.mark.pmix
OWN_PROCESS = True

EACH = pytest.mark.parametrize("version", VERSIONS)
FFI = _declarations.ffi

# In bytes on 64 bits: the layouts that OpenPMIx 4.2 to 6.1 share.
SIZES = {
    "pmix_proc_t": 260,
    "pmix_value_t": 32,
    "pmix_info_t": 552,
    "pmix_pdata_t": 808,
    "pmix_app_t": 56,
    "pmix_query_t": 24,
    "pmix_data_array_t": 24,
    "pmix_byte_object_t": 16,
    "pmix_topology_t": 16,
    "pmix_cpuset_t": 16,
    "pmix_envar_t": 24,
    "pmix_regattr_t": 536,
    "pmix_proc_info_t": 296,
    "pmix_data_buffer_t": 40,
    "pmix_coord_t": 24,
    "pmix_geometry_t": 40,
    "pmix_device_distance_t": 32,
    "pmix_endpoint_t": 32,
    "pmix_fabric_t": 40,
}
# Declared for a later version than the one that lacks them.
LATER = {"4.2": {"PMIx_Session_control"}}
# Types that a version does not have.
UNKNOWN = {"6.1": {DataType.PROC_STATS, DataType.DISK_STATS, DataType.NET_STATS, DataType.NODE_STATS}}


def test_the_compiled_declarations_are_those_of_the_text(tmp_path: Path) -> None:
    if importlib.util.find_spec("pycparser") is None:
        pytest.skip("no pycparser: cffi cannot parse C")
    fresh = tmp_path / "_declarations.py"
    declarations.generate(str(fresh))
    assert _declarations.__file__ is not None
    same = fresh.read_text() == Path(_declarations.__file__).read_text()
    assert same, "out of date: python -m fluxpmix.pmix.declarations"


@pytest.mark.parametrize("struct", SIZES)
def test_a_struct_has_the_size_that_all_versions_have(struct: str) -> None:
    assert FFI.sizeof(struct) == SIZES[struct]


def test_every_struct_of_libpmix_that_is_declared_is_checked() -> None:
    declared = {name for name in FFI.list_types()[0] if FFI.typeof(name).kind == "struct"}
    assert declared - {"pmix_server_module_t"} == SIZES.keys()


@EACH
def test_sizes_and_places_of_all_members_are_the_headers(version: str, tmp_path: Path) -> None:
    ours = {}
    for struct in SIZES:
        ours[f"sizeof({struct})"] = FFI.sizeof(struct)
        for member, field in FFI.typeof(struct).fields:
            ours[f"offsetof({struct}, {member})"] = field.offset
            ours[f"sizeof((({struct} *)0)->{member})"] = FFI.sizeof(field.type)
    assert c_values(tmp_path, headers(library(version)), ours) == ours


@EACH
def test_the_server_modules_entries_are_where_the_headers_have_them(version: str, tmp_path: Path) -> None:
    found = library(version)
    entries = module_table.layout(found.version)
    ours = {f"offsetof(pmix_server_module_t, {name})": 8 * at for at, name in enumerate(entries)}
    ours["sizeof(pmix_server_module_t)"] = 8 * len(entries)
    assert c_values(tmp_path, headers(found), ours) == ours


@pytest.mark.parametrize(
    ("version", "size", "session_control"),
    [((4, 2, 2), 224, None), ((5, 0, 11), 232, 224), ((6, 0, 0), 232, 224), ((6, 1, 0), 256, 240)],
)
def test_the_server_modules_end_moves_with_the_version(
    version: tuple[int, ...], size: int, session_control: int | None
) -> None:
    entries = module_table.layout(version)
    assert len(set(entries)) == len(entries)
    assert (8 * len(entries), dict(zip(entries, range(0, size, 8), strict=True)).get("session_control")) == (
        size,
        session_control,
    )
    assert size <= module_table.MODULE_BYTES // 2, "libpmix copies as many bytes as its own struct has"


@EACH
def test_every_declared_function_is_in_the_library_or_later(version: str) -> None:
    found = library(version)
    declared = sorted(set(re.findall(r"\b(PMIx_\w+)\(", CDEF)))
    assert len(declared) > 100
    missing = set()
    for name in declared:
        try:
            getattr(found.lib, name)
        except found.ffi.error:
            missing.add(name)
    assert missing == LATER.get(version, set())


@EACH
def test_every_function_takes_as_many_arguments_as_the_headers_say(version: str) -> None:
    text = "\n".join(path.read_text() for path in headers(library(version)).glob("pmix*.h"))
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    counted = {}
    for name, arguments in re.findall(r"PMIX_EXPORT[^;()]*?\b(PMIx_\w+)\s*\(([^;]*?)\)\s*;", text):
        counted[name] = 0 if arguments.strip() in ("void", "") else arguments.count(",") + 1
    ours = {
        name: 0 if arguments.strip() == "void" else arguments.count(",") + 1
        for name, arguments in re.findall(r"\b(PMIx_\w+)\(([^;]*)\);", CDEF)
    }
    shared = counted.keys() & ours.keys()
    assert len(shared) > 90
    assert {name: ours[name] for name in shared} == {name: counted[name] for name in shared}


# -- the plain data's numbers ---------------------------------------------------------------------------


def numbers() -> dict[str, int]:
    """The C name of every number in `types.py`."""
    found = {f"PMIX_{each.name}": each.value for each in DataType}
    for kind, form in (
        (types.Scope, "PMIX_{}"),
        (types.Range, "PMIX_RANGE_{}"),
        (types.Persistence, "PMIX_PERSIST_{}"),
        (types.GroupOperation, "PMIX_GROUP_{}"),
    ):
        found |= {form.format(member.name): member.value for member in kind}
    found |= {f"PMIX_FWD_{channel.name}_CHANNEL": channel.value for channel in types.IofChannel}
    found |= {f"PMIX_{name}": value for name, value in vars(types).items() if re.match(r"RANK_|MAX_(KEY|NS)LEN", name)}
    # As the headers spell them.
    for ours, theirs in {
        "PMIX_UNDEF": "PMIX_UNDEF",
        "PMIX_PERSIST_INDEFINITE": "PMIX_PERSIST_INDEF",
        "PMIX_PERSIST_PROCESS": "PMIX_PERSIST_PROC",
        "PMIX_PERSIST_APPLICATION": "PMIX_PERSIST_APP",
        "PMIX_FWD_NONE_CHANNEL": "PMIX_FWD_NO_CHANNELS",
    }.items():
        if ours in found:
            found[theirs] = found.pop(ours)
    return {name: value for name, value in found.items() if name not in NOT_IN_THE_HEADERS}


NOT_IN_THE_HEADERS = {"PMIX_GROUP_NONE"}  # 5.0 on


@EACH
def test_every_number_of_the_plain_data_is_the_headers(version: str, tmp_path: Path) -> None:
    gone = {f"PMIX_{type_.name}" for type_ in UNKNOWN.get(version, ())}
    wanted = {name: value for name, value in numbers().items() if name not in gone}
    assert c_values(tmp_path, headers(library(version)), wanted) == wanted


@EACH
def test_data_types_have_the_names_that_libpmix_gives_them(version: str, tmp_path: Path) -> None:
    found = library(version)
    with lone_server(found, tmp_path):
        told = {type_: found.ffi.string(found.lib.PMIx_Data_type_string(type_)).decode() for type_ in DataType}
    for type_ in {DataType.UNDEF, *UNKNOWN.get(version, ())}:
        assert told.pop(type_) == "UNKNOWN"
    assert told == {type_: f"PMIX_{type_.name}" for type_ in told}


def test_attributes_types_are_those_that_a_value_can_have() -> None:
    kinds = {each.type for each in vars(attributes).values() if isinstance(each, attributes.Attribute)}
    assert kinds <= set(DataType)
