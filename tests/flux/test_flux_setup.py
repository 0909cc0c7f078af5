"""Setting Flux up for us: `flux-pmix env`, `install`, `build-plugins` and what `doctor` says of the plugin."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from instance import CLIENTS, Instance

from fluxpmix.cli import main as command
from fluxpmix.shell.flux import embedding, location


@pytest.fixture
def built(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tests' plugin as the one that is found."""
    monkeypatch.setattr(location, "find", lambda: location.Plugin(str(plugin)))
    return plugin


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[list[str], str]:
    assert command.main(words) == code
    said = capsys.readouterr()
    return said.out.splitlines(), said.err


def variables(lines: list[str]) -> dict[str, str]:
    script = "\n".join([*lines, 'echo "$FLUX_SHELL_RC_PATH"', 'echo "$FLUX_EXEC_PATH"'])
    out = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(zip(("FLUX_SHELL_RC_PATH", "FLUX_EXEC_PATH"), out, strict=True))


def test_env_keeps_what_is_there_and_adds_itself_once(
    built: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = str(built / "lua.d")
    monkeypatch.setenv("FLUX_SHELL_RC_PATH", "/their own:/other")
    for _ in range(2):
        lines, _err = run(capsys, "env")
        found = variables(lines)
        assert found["FLUX_SHELL_RC_PATH"] == f"{ours}:/their own:/other"
        monkeypatch.setenv("FLUX_SHELL_RC_PATH", found["FLUX_SHELL_RC_PATH"])
    assert shutil.which("flux-pmix", path=found["FLUX_EXEC_PATH"])
    monkeypatch.setenv("FLUX_EXEC_PATH", found["FLUX_EXEC_PATH"])
    lines, _err = run(capsys, "env", "--unset")
    assert variables(lines) == {"FLUX_SHELL_RC_PATH": "/their own:/other", "FLUX_EXEC_PATH": ""}


def test_env_and_install_say_what_to_do_without_a_plugin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(location, "find", lambda: None)
    for words in (["env"], ["install", "--prefix=/usr"]):
        _out, err = run(capsys, *words, code=1)
        assert "the plugin is not built: flux-pmix build-plugins builds it" in err


def test_install_links_and_removes(built: Path, upmi: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "etc/flux/shell").mkdir(parents=True)
    lua = tmp_path / "etc/flux/shell/lua.d/fluxpmix.lua"
    links = {
        tmp_path / "lib/flux/shell/plugins/fluxpmix/pmix.so": built / "pmix.so",
        lua: built / "lua.d/pmix.lua",
        tmp_path / "lib/flux/upmi/plugins/fluxpmix.so": upmi / "pmix.so",
    }
    for _ in range(2):
        run(capsys, "install", f"--prefix={tmp_path}")
        assert {link: link.resolve() for link in links} == {link: file.resolve() for link, file in links.items()}
    run(capsys, "install", f"--prefix={tmp_path}", "--remove")
    assert not any(link.is_symlink() for link in links)
    assert run(capsys, "install", f"--prefix={tmp_path}", "--remove") == ([], "")
    lua.write_text("theirs")
    for more in ([], ["--remove"]):
        _out, err = run(capsys, "install", f"--prefix={tmp_path}", *more, code=1)
        assert "no link" in err and lua.read_text() == "theirs"


@pytest.mark.flux
@pytest.mark.pmix
def test_what_is_installed_serves_flux_pmi(
    built: Path, environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("flux") is None:
        pytest.skip("flux is not on PATH")
    (tmp_path / "etc/flux/shell").mkdir(parents=True)
    run(capsys, "install", f"--prefix={tmp_path}")
    env = environment | {"FLUX_PMI_CLIENT_SEARCHPATH": str(tmp_path / "lib/flux/upmi/plugins")}
    words = ["flux-pmix", "run", "-n2", "flux", "pmi", "--method=pmix", "barrier"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert "completed pmi barrier on 2 tasks" in done.stdout


def test_install_wants_both_plugins(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "etc/flux/shell").mkdir(parents=True)
    alone = tmp_path / "alone"
    shutil.copytree(built, alone, ignore=shutil.ignore_patterns("upmi"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(location, "find", lambda: location.Plugin(str(alone)))
        _out, err = run(capsys, "install", f"--prefix={tmp_path}", code=1)
    assert "flux-pmix build-plugins builds both" in err and not (tmp_path / "lib").exists()


def test_a_plugin_says_of_which_sources_it_is(built: Path, upmi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {embedding.SHELL: built / "pmix.so", embedding.UPMI: upmi / "pmix.so"}
    assert all(embedding.is_current(str(file), kind) for kind, file in files.items())
    assert not embedding.is_current(str(files[embedding.UPMI]), embedding.SHELL)
    monkeypatch.setattr(embedding, "_body", lambda kind: "changed")
    assert not any(embedding.is_current(str(file), kind) for kind, file in files.items())


@pytest.mark.flux
def test_doctor_proves_both_plugins(built: Path, upmi: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("flux") is None:
        pytest.skip("flux is not on PATH")
    out = "\n".join(run(capsys, "doctor")[0])
    assert f"plugin    {built / 'pmix.so'} (of jobs)" in out
    assert f"plugin    {upmi / 'pmix.so'} (of brokers and flux pmi)" in out
    assert "job       good: " in out and "flux pmi  good: " in out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["install"], 2, "--prefix=PREFIX"),
        (["install", "--prefix=/nonexistent"], 1, "no Flux is installed there"),
        (["install", "/usr"], 2, "'/usr' was given"),
        (["env", "sh"], 2, "'sh' was given"),
        (["build-plugins", "--into=/proc/nowhere"], 1, "choose another --into DIR"),
        (["build-plugins", "--cc=nosuch-cc"], 1, "no C compiler: nosuch-cc is not there"),
        (["build-plugins", "--cc=false", "--into=TMP"], 1, "cannot build the plugin"),
        (["build-plugins", "here"], 2, "'here' was given"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line(
    built: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], code: int, says: str
) -> None:
    _out, err = run(capsys, *(word.replace("TMP", str(tmp_path)) for word in words), code=code)
    assert says in err and err.count("\n") == 1


def test_a_python_without_a_shared_library_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    import sysconfig

    real = sysconfig.get_config_var
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: 0 if name == "Py_ENABLE_SHARED" else real(name))
    with pytest.raises(embedding.BuildError, match="no shared libpython"):
        embedding.this_python()


@pytest.mark.flux
def test_a_plugin_built_elsewhere_serves_a_job(two: Instance, tmp_path: Path) -> None:
    subprocess.run([shutil.which("flux-pmix") or "flux-pmix", "build-plugins", "--into", tmp_path], check=True)
    two.run("-N2", "-n2", sys.executable, CLIENTS / "fence.py", env={"FLUX_SHELL_RC_PATH": str(tmp_path / "lua.d")})
