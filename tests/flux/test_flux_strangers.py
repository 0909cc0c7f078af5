"""Messages to the shells of a job from those who may not send any: other users, and who is no shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from instance import CLIENTS, Instance

pytestmark = pytest.mark.flux
NOBODY = 65534
METHODS = ("pmix-message", "pmix-end", "pmix-alive")
Sender = Callable[..., str]


@pytest.fixture
def open_to_all(plugin: Path, tmp_path: Path) -> Iterator[Instance]:
    """An instance of two brokers that serves guests."""
    if shutil.which("flux") is None:
        pytest.skip("flux is not on PATH")
    (tmp_path / "access.toml").write_text("[access]\nallow-guest-user = true\nallow-root-owner = true\n")
    instance = Instance(2, plugin, f"--config-path={tmp_path}")
    for path in (instance.directory, *instance.directory.glob("flux-*")):
        path.chmod(0o755)
    yield instance
    instance.check()
    instance.close()


@pytest.fixture
def send(open_to_all: Instance) -> Sender:
    """Sends a request to the last job's service, as a user, and returns the error that comes back."""
    prefix = Path(shutil.which("flux") or "").resolve().parent.parent
    program = open_to_all.directory / "sender"
    libraries = [f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib", "-lflux-core"]
    done = subprocess.run(["cc", "-o", program, Path(__file__).parent / "sender.c", *libraries], check=False)
    if done.returncode:
        pytest.skip("cannot link with libflux-core")

    def send(method: str, payload: str = "", *, user: int | None = None, broker: int = 0) -> str:
        job = open_to_all.flux("job", "id", "--to=f58plain", open_to_all.flux("job", "last"))
        command = [program, open_to_all.uri, f"{os.getuid()}-shell-{job}.{method}", str(broker), payload]
        more = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        env = {"HOME": "/", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True, cwd="/", **more)
        return done.stdout.strip()

    return send


def waiting(instance: Instance, tmp_path: Path) -> list[str]:
    """A program that fences, says so, and fences again when `tmp_path/go` is there."""
    return [
        sys.executable,
        "-c",
        "import os, time\nfrom fluxpmix import Client\n"
        "with Client() as client:\n    client.fence()\n    print('in', flush=True)\n"
        f"    while not os.path.exists('{tmp_path}/go'): time.sleep(0.02)\n"
        "    client.fence(collect=True)\n",
    ]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to send as another user")
def test_a_message_of_another_user_is_refused_and_logged(open_to_all: Instance, send: Sender, tmp_path: Path) -> None:
    child = open_to_all.start("-N2", "-n2", *waiting(open_to_all, tmp_path))
    assert child.stdout is not None
    assert child.stdout.readline() == "in\n"
    for broker in (0, 1):
        for method in METHODS if broker == 0 else ("pmix-message", "pmix-alive"):
            assert send(method, "x", user=NOBODY, broker=broker) == "Operation not permitted"
    (tmp_path / "go").touch()
    result = open_to_all.finish(child)
    assert result.err.count(f"refused a message of user {NOBODY} to the job's service: it is user 0's") == 5


def test_messages_that_no_shell_would_send_are_refused(open_to_all: Instance, send: Sender, tmp_path: Path) -> None:
    child = open_to_all.start("-N2", "-n2", *waiting(open_to_all, tmp_path))
    assert child.stdout is not None
    assert child.stdout.readline() == "in\n"
    bad = [("pmix-message", "x"), ("pmix-message", "fpmx"), ("pmix-message", "fpmx" + chr(1) * 20), ("pmix-end", "x")]
    assert [send(*each) for each in bad] == ["Protocol error"] * 4
    (tmp_path / "go").touch()
    assert open_to_all.finish(child).err.count("refused a message to the job's service") == 3


def test_a_flood_of_bad_messages_is_not_a_flood_in_the_log(open_to_all: Instance, send: Sender, tmp_path: Path) -> None:
    child = open_to_all.start("-N2", "-n2", *waiting(open_to_all, tmp_path))
    assert child.stdout is not None
    assert child.stdout.readline() == "in\n"
    for _ in range(25):
        assert send("pmix-message", "nonsense that is long enough") == "Protocol error"
    (tmp_path / "go").touch()
    assert open_to_all.finish(child).err.count("refused a message to the job's service") == 20


@pytest.mark.parametrize("user", [None, pytest.param(NOBODY, marks=pytest.mark.root)])
def test_a_message_before_the_first_shells_does_not_fail_the_job(
    open_to_all: Instance, send: Sender, tmp_path: Path, user: int | None
) -> None:
    """The other shells wait for shell 0's word at start; it is made late here."""
    if user is not None and os.geteuid() != 0:
        pytest.skip("needs root, to send as another user")
    rc = tmp_path / "rc"
    rc.mkdir()
    (rc / "a.lua").write_text(
        'plugin.register{ name = "late", handlers = {{ topic = "shell.post-init", fn = function ()\n'
        f"  if shell.info.rank == 0 then os.execute('touch {tmp_path}/late; "
        f"until test -e {tmp_path}/sent; do sleep 0.05; done') end\n"
        "end }}}\n"
    )
    paths = f"{rc}:{open_to_all.plugin / 'lua.d'}"
    words = ["-N2", "-n2", sys.executable, CLIENTS / "fence.py"]
    child = open_to_all.start(*words, env={"FLUX_SHELL_RC_PATH": paths})
    open_to_all.until((tmp_path / "late").exists, "shell 0 does not start")
    answer = send("pmix-message", "too early", user=user, broker=1)
    (tmp_path / "sent").touch()
    result = open_to_all.finish(child)
    assert answer == ("Protocol error" if user is None else "Operation not permitted")
    assert "refused a message" in result.err
