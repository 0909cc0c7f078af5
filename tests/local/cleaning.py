"""A directory in which `clients/cleans.py` registers things for removal."""

from __future__ import annotations

from pathlib import Path


def layout(root: Path) -> None:
    """Make what is registered, and what must stay."""
    for name in ("plain", "kept", "deep/er", "flat/inner", "outside", "top"):
        (root / name).mkdir(parents=True)
    for name in ("file", "other", "bystander", "outside/precious", "plain/one", "kept/one", "top/one"):
        (root / name).touch()
    for name in ("deep/one", "deep/er/two", "flat/one", "flat/inner/two"):
        (root / name).touch()
    (root / "deep/out").symlink_to(root / "outside")
    (root / "deep/er/up").symlink_to(root)
    (root / "link").symlink_to(root / "outside")


def left(root: Path) -> list[str]:
    """What is there, but links."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_symlink())


def stays(version: str) -> list[str]:
    """What is to be left of it by a server of libpmix "4.2", ...: 4.2 does not remove links."""
    wanted = ["bystander", "flat", "flat/inner", "flat/inner/two", "kept", "outside", "outside/precious", "top"]
    return sorted([*wanted, *(("deep", "deep/er") if version == "4.2" else ())])
