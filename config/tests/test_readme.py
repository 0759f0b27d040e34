"""The README does what it says: its commands are run here as they stand."""

import os
import re
import shutil
import signal
import subprocess
import time
from io import StringIO
from pathlib import Path
from urllib.request import urlopen

import pytest
from dotenv import dotenv_values

from config.tests.live import free_port, fresh_database, new_service, running_service

ROOT = Path(__file__).resolve().parent.parent.parent


def blocks_of(readme: str, heading: str) -> list[str]:
    """The shell commands under a heading of a README."""
    section = (ROOT / readme).read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return [re.sub("(?m)^  ", "", block) for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)]


@pytest.mark.slow
@pytest.mark.interface
@pytest.mark.parametrize(
    ("readme", "heading", "friend", "subjects"),
    [
        ("README.md", "Quick start", "linus", ["Confirm your e-mail address", "Your referral code"]),
        ("README.ru.md", "Первые шаги", "lev", ["=?utf-8?", "=?utf-8?"]),
    ],
)
def test_the_quick_start_brings_the_friend_into_the_list_and_the_code_into_a_mail(readme, heading, friend, subjects):
    [commands] = blocks_of(readme, heading)
    with running_service() as service:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=service.folder,
            env={"PATH": os.environ["PATH"], "URL": service.url},
            capture_output=True,
            text=True,
            check=True,
        )
    assert '"referrer":{"username":"ada"}' in done.stdout
    assert re.search(rf'"results":\[{{"id":2,"username":"{friend}","email":"l\*\*\*@example.com"', done.stdout)
    assert "problem" not in done.stdout
    for subject in subjects:
        assert f"Subject: {subject}" in done.stdout


@pytest.mark.slow
@pytest.mark.interface
@pytest.mark.parametrize(("readme", "heading"), [("README.md", "A demo program"), ("README.ru.md", "Демонстрация")])
def test_the_demo_program_prints_how_to_sign_in(readme, heading, tmp_path):
    [command] = blocks_of(readme, heading)
    with fresh_database(tmp_path) as database_url:
        service = new_service(tmp_path, database_url)
        done = subprocess.run(
            ["bash", "-c", command], cwd=ROOT, env=service.environment, capture_output=True, text=True, check=True
        )
    assert re.search(r"users_user +500\n", done.stdout)
    assert len(re.findall(r"\S+@demo\.example  ", done.stdout)) == 4


def test_every_setting_is_explained_and_no_other_is():
    read = set(re.findall(r'env\.\w+\("([A-Z_]+)"', (ROOT / "config/settings.py").read_text(encoding="utf-8")))
    rows = [line for line in blocks_of_settings() if line.startswith("| `")]
    in_readme = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1])}
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert in_readme == read | {"ENV_FILE"}
    assert set(re.findall(r"(?m)^# ([A-Z_]+)=", example)) == read


def test_the_defaults_that_are_told_are_those_that_hold():
    source = (ROOT / "config/settings.py").read_text(encoding="utf-8")
    example = re.sub(r"(?m)^# (?=[A-Z_]+=)", "", (ROOT / ".env.example").read_text("utf-8"))  # all of it copied
    told = dotenv_values(stream=StringIO(example), interpolate=False)
    for name, default in re.findall(r'env\.\w+\("([A-Z_]+)", ("[^"]*"|\w+)[,)]', source):
        holds = default.lower() if default in ("True", "False") else default.strip('"')
        assert told[name] == (holds if name != "PUBLIC_URL" else "http://127.0.0.1:8000"), name


def blocks_of_settings() -> list[str]:
    return (ROOT / "README.md").read_text(encoding="utf-8").split("## Settings\n")[1].split("\n## ")[0].splitlines()


def a_clone(folder: Path) -> Path:
    """The project as somebody gets it: what git tracks, and nothing else."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("what git tracks is not known here")  # in an archive, which has no history
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.interface
def test_a_fresh_clone_runs_by_one_command_and_by_the_classic_steps(tmp_path):
    clone, home = a_clone(tmp_path / "clone"), tmp_path / "home"
    home.mkdir()
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "PATH"}
    environment = kept | {"HOME": str(home), "PORT": str(port)}
    for _start in ("the first", "the second"):
        output = start_and_look(["make", "run"], clone, environment, port)
        assert f"http://127.0.0.1:{port}/redoc/" in output
    assert oct((clone / ".env").stat().st_mode)[-3:] == "600"
    (clone / ".env").unlink()
    [_run, _test, classic] = blocks_of("README.md", "Two commands")
    *steps, create_superuser, serve = classic.strip().splitlines()
    environment |= {"DJANGO_SUPERUSER_EMAIL": "staff@example.com", "DJANGO_SUPERUSER_PASSWORD": "correct horse battery"}
    for step in [*steps, f"{create_superuser} --no-input"]:
        subprocess.run(step, shell=True, cwd=clone, env=environment, check=True, capture_output=True)  # noqa: S602
    start_and_look([*serve.split(), f"127.0.0.1:{port}"], clone, environment, port)
    assert oct((clone / ".env").stat().st_mode)[-3:] == "600"
    subprocess.run([*blocks_of("README.md", "Running it")[3].split()], cwd=clone, env=environment, check=True)


def start_and_look(command: list[str], clone: Path, environment: dict[str, str], port: int) -> str:
    """Start a server, look at its pages, stop it, and return what it printed."""
    with open(clone.parent / "output", "w+b") as output:
        server = subprocess.Popen(
            command, cwd=clone, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            for path in ("readyz", "", "redoc/", "static/drf_spectacular_sidecar/redoc/bundles/redoc.standalone.js"):
                look_at(f"http://127.0.0.1:{port}/{path}", server, output)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=60)
        output.seek(0)
        return output.read().decode()


def look_at(url: str, server: subprocess.Popen[bytes], output) -> None:
    while True:
        try:
            with urlopen(url, timeout=10) as answer:
                assert answer.status == 200
                return
        except OSError:
            if server.poll() is not None:
                output.seek(0)
                pytest.fail(f"the server stopped:\n{output.read().decode()}")
            time.sleep(0.2)
