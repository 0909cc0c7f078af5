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


def spared_layout(root: Path, ranks: int) -> None:
    """Make what `clients/spares.py` registers."""
    for rank in range(ranks):
        for name in ("one/deep", "one/gone", "two"):
            (root / str(rank) / name).mkdir(parents=True)
        for name in ("one/kept", "one/other", "one/deep/file", "one/gone/kept", "two/kept", "two/other", "three"):
            (root / str(rank) / name).touch()


def spared(rank: int) -> list[str]:
    """What is to be left of it."""
    names = ["one", "one/deep", "one/deep/file", "one/kept", "two", "two/kept"]
    return [str(rank), *(f"{rank}/{name}" for name in names)]


# What each process of it prints after its rank.
SPARED_SAYS = "done done done PMIX_ERR_CONFLICTING_CLEANUP_DIRECTIVES PMIX_ERR_BAD_PARAM"
