"""The house rules that a reader relies on: floors, style and types hold over the whole tree."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "fluxpmix"
# From the ground up: a floor may import itself and the floors before it.
FLOORS = ("pmix", "job", "host", "sim", "shell", "cli")
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "_declarations.py")


def floor_of(module: str) -> int | None:
    """The floor that a dotted module name stands on, None outside the floors."""
    parts = module.split(".")
    return FLOORS.index(parts[1]) if len(parts) > 1 and parts[0] == "fluxpmix" and parts[1] in FLOORS else None


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path: Path) -> None:
    here = floor_of("fluxpmix." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    if here is None:
        return
    above = {name for name in imported(ast.parse(path.read_text())) if (floor_of(name) or 0) > here}
    assert not above


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is(path: Path) -> None:
    source = path.read_text()
    if source.strip():
        assert ast.get_docstring(ast.parse(source)), f"{path} has no docstring"


@pytest.mark.parametrize("path", sorted((PACKAGE / "host").rglob("*.py")), ids=lambda path: path.name)
def test_the_host_floor_does_no_input_or_output(path: Path) -> None:
    forbidden = {"socket", "threading", "time", "asyncio", "select", "os", "cffi", "signal", "subprocess"}
    assert not imported(ast.parse(path.read_text())) & forbidden


# Of the host what every job needs: `host/capabilities.py` has the rest made when it is.
HOST_AT_START = """
bruck capabilities capability collective directives directory effects event failure fence frames host life movement
scheduled sized spread supported tree wire
"""


# Each of them costs more than all that is used of it: `pmix/light.py` and `pmix/record.py` have that.
DEAR = {"enum", "functools", "contextlib", "re", "typing", "dataclasses", "asyncio", "signal"}


def loaded_with(module: str) -> set[str]:
    """What a Python has loaded that starts with this module of the package."""
    import _cffi_backend

    program = f"""
import sys
sys.path += [{str(ROOT / "src")!r}, {str(Path(_cffi_backend.__file__).parent)!r}]
import fluxpmix.{module}
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("carrier", ["flux.plugin", "local.launcher"])
def test_a_job_shell_starts_without_the_dear_modules(carrier: str) -> None:
    loaded = loaded_with(f"shell.{carrier}")
    assert not loaded & DEAR
    assert {name[14:] for name in loaded if name.startswith("fluxpmix.host.")} <= set(HOST_AT_START.split())


def test_a_broker_starts_with_what_a_client_needs() -> None:
    servers = {f"fluxpmix.pmix.{name}" for name in ("server", "upcalls", "replies", "module_table")}
    loaded = loaded_with("shell.flux.upmi.plugin")
    assert not loaded & (DEAR | servers | {"collections", "array", "fluxpmix.job.taskmap"})


def run_tool(*arguments: str) -> None:
    if importlib.util.find_spec(arguments[0]) is None:
        pytest.skip(f"{arguments[0]} is not installed: pip install -e '.[dev]'")
    result = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_ruff_finds_nothing() -> None:
    run_tool("ruff", "check", ".")


def test_ruff_would_format_nothing() -> None:
    run_tool("ruff", "format", "--check", ".")


def test_types_are_strict() -> None:
    run_tool("mypy")


def test_ci_runs_the_readmes_test_command() -> None:
    commands = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2, "the quick start is two commands"
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()
