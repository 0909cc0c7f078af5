"""Credentials, more time and kills by command in real Flux, which is asked for the time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cleaning import SPARED_SAYS, layout, left, spared, spared_layout, stays
from installed import find_libpmix as libpmix
from instance import CLIENTS, HEARTBEATS_SEEN, Instance
from launching import LED

pytestmark = pytest.mark.flux


def run(two: Instance, server: str, *words: str, options: tuple[str, ...] = (), code: int = 0) -> list[str]:
    command = [sys.executable, CLIENTS / "facilities.py", *words]
    env = {"FLUXPMIX_LIBPMIX": server}
    return two.run("-N2", "-n2", "-o", f"pmix.libpmix={server}", *options, *command, code=code, env=env).lines


def test_a_credential_is_valid_on_another_node_and_a_forged_one_nowhere(two: Instance, server: str) -> None:
    texts = ("True True", "PMIX_ERR_INVALID_CRED")
    expected = sorted(f"{rank} fluxpmix {text}" for rank in (0, 1) for text in texts)
    assert run(two, server, "credentials", "fluxpmix") == expected


def test_flux_gives_the_job_more_time(two: Instance, server: str) -> None:
    lines = run(two, server, "time", options=("-t", "60s"))
    assert lines == ["0 extended mine", "0 new PMIX_ERR_OUT_OF_RESOURCE"]
    updates = two.events("jobspec-update")
    assert [event["context"] for event in updates] == [{"attributes.system.duration": 160.0}]


def test_every_process_hears_once_that_its_time_is_nearly_up_also_when_flux_extends_it(
    two: Instance, server: str
) -> None:
    words = ["-N2", "-n4", "-t", "100s", "-o", f"pmix.libpmix={server}", "-o", "pmix.alert=98s", sys.executable]
    result = two.run(*words, CLIENTS / "alerted.py", "extend", 98, env={"FLUXPMIX_LIBPMIX": server})
    assert result.lines == [f"{rank} True 98" for rank in range(4)]


def test_a_limit_that_flux_changes_from_outside_is_the_one_that_is_told(two: Instance) -> None:
    child = two.start(
        "-N2", "-n2", "-t", "10m", "-o", "pmix.alert=60s", sys.executable, CLIENTS / "alerted.py", "ready"
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    (started,) = two.events("start")
    two.flux("update", two.flux("job", "last"), f"duration={time.time() - started['timestamp'] + 63:.0f}s")
    assert two.finish(child).lines == ["0 True 60", "1 True 60"]


def test_a_file_that_nobody_writes_to_raises_an_alert_on_all_nodes(two: Instance, server: str, tmp_path: Path) -> None:
    path = tmp_path / "watched"
    path.touch()
    assert run(two, server, "monitor", str(path)) == ["0 alert True", "0 watched mine", "1 alert True"]


def test_heartbeats_that_stay_away_raise_the_event_that_was_asked_for(two: Instance, server: str) -> None:
    assert run(two, server, "heartbeats") == HEARTBEATS_SEEN


def test_what_processes_want_spared_stays_and_the_server_lives(two: Instance, server: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    spared_layout(root, 2)
    words = ("-N2", "-n2", "-o", f"pmix.libpmix={server}", sys.executable, CLIENTS / "spares.py", root)
    result = two.run(*words, env={"FLUXPMIX_LIBPMIX": server})
    assert result.lines == [f"{rank} {SPARED_SAYS}" for rank in range(2)]
    assert left(root) == spared(0) + spared(1)


@pytest.mark.parametrize("end", ["", "die"])
def test_what_was_registered_is_removed_and_no_link_is_followed_out(
    two: Instance, server: str, end: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    layout(root)
    words = ("-o", "exit-timeout=none", "-o", f"pmix.libpmix={server}", sys.executable, CLIENTS / "cleans.py", root)
    two.run("-n1", *words, *filter(None, [end]), code=137 if end else 0, env={"FLUXPMIX_LIBPMIX": server})
    assert left(root) == stays("4.2" if server == libpmix("4.2") else "later")


def test_a_kill_by_command_is_told_as_one(two: Instance, server: str) -> None:
    lines = run(two, server, "kill", options=("-o", "exit-timeout=none"), code=137)
    assert lines == ["0 PMIX_ERR_PROC_KILLED_BY_CMD 1"]


@pytest.mark.parametrize("way", ["led", "led_invited"])
def test_the_end_of_a_groups_leader_and_who_leads_then_is_told(
    instance: Callable[[int], Instance], server: str, way: str
) -> None:
    words = ("-o", f"pmix.libpmix={server}", f"--env=FLUXPMIX_LIBPMIX={server}", "-o", "exit-timeout=none")
    result = instance(4).run("-N4", "-n4", *words, sys.executable, CLIENTS / "groups.py", way, code=3)
    assert result.lines == [f"{rank} {LED}" for rank in (2, 3)]
