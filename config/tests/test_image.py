"""The image, without Docker: what the Dockerfile says is done step by step, and what compose.yaml runs is run so."""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import yaml

from config.tests.live import ROOT, free_port
from config.tests.test_readme import a_clone

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
BAIT = (
    ".env",
    "config/.env.local",
    "db.sqlite3",
    "secrets/secret_key",
    "certs/key.pem",
    "deploy/compose.env",
    ".git/HEAD",
)

# / can only be read, /tmp is new and empty, and the folder for data is there: as with `read_only` and `tmpfs`.
READ_ONLY = """
mount --make-rprivate /
mount --bind "$DATA" "$DATA"
mount -o remount,bind,ro /
mount -t tmpfs -o mode=1777 tmpfs /tmp
exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all "$@"
"""


def is_left_out(name: str) -> bool:
    """Whether .dockerignore keeps a file out of the image: the last line that fits it, or a folder of it, decides."""
    left_out = False
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = re.escape(line.lstrip("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(f"{pattern}(/.*)?", name):
            left_out = not line.startswith("!")
    return left_out


def in_the_image(folder: Path) -> list[str]:
    files = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    return [name for name in files if not is_left_out(name)]


def test_the_image_holds_what_runs_and_nothing_else(tmp_path):
    """S5"""
    clone = a_clone(tmp_path)
    for name in BAIT:
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).write_text("secret")
    there = in_the_image(clone)
    assert {name.split("/")[0] for name in there} == {
        *("config", "users", "referrals", "templates", "locale", "manage.py", "requirements.txt", "LICENSE")
    }
    assert not [name for name in there if "tests" in name.split("/") or name in BAIT]
    assert {"config/healthy.py", "locale/ru/LC_MESSAGES/django.mo", "config/api/introduction.md"} <= {*there}


def test_every_service_runs_with_as_little_as_it_can():
    """S7"""
    services = COMPOSE["services"]
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys(), name
        assert "user" in service or service["image"].startswith("referral-service"), name
        once = name in ("migrate", "roles")
        assert service["restart"] == ("on-failure:5" if once else "unless-stopped"), name
        assert once or "healthcheck" in service or name == "web", name
        assert once or {"memory", "pids"} <= service["deploy"]["resources"]["limits"].keys(), name
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert [
        name for name, service in services.items() if "postgres" in name and service["networks"] != ["inside"]
    ] == []
    for name in ("web", "worker", "beat"):
        assert services[name]["depends_on"]["roles"] == {"condition": "service_completed_successfully"}
        assert services[name]["stop_grace_period"] == "35s"


def test_secrets_are_files_that_a_script_makes_up(tmp_path):
    """S3"""
    told = {name for service in COMPOSE["services"].values() for name in service.get("secrets", [])}
    assert told == COMPOSE["secrets"].keys()
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    make = [sys.executable, tmp_path / "deploy" / "make_secrets.py"]
    subprocess.run(make, check=True, capture_output=True)
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert made.keys() == told
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert made["app_password"] in made["database_url"]
    assert made["owner_password"] in made["owner_database_url"]
    assert len({*made.values()}) == len(made)
    assert "nothing" in subprocess.run(make, check=True, capture_output=True, text=True).stdout
    assert {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()} == made
    in_the_open = [
        value
        for service in COMPOSE["services"].values()
        for name, value in service.get("environment", {}).items()
        if re.search("SECRET|KEY|PASSWORD|_URL", name) and not name.endswith("_FILE") and name != "PUBLIC_URL"
    ]
    assert in_the_open == []


@pytest.mark.slow
@pytest.mark.interface
def test_systemd_understands_the_units_and_finds_little_that_they_could_reach(tmp_path):
    """S7"""
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd here")
    units = tmp_path / "etc/systemd/system"
    shutil.copytree(ROOT / "deploy/systemd", units)
    for unit in sorted(units.glob("*.service")):
        program = Path(re.findall(r"ExecStart=/(\S+)", unit.read_text())[0])
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/true", tmp_path / program)
        verify = ["systemd-analyze", "verify", f"--root={tmp_path}", "--recursive-errors=no", unit]
        done = subprocess.run(verify, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        exposure = ["systemd-analyze", "security", f"--root={tmp_path}", "--offline=true", "--threshold=20", unit.name]
        subprocess.run(exposure, capture_output=True, check=True)


def instruction(name: str) -> str:
    """The last of its kind in the Dockerfile, in one line."""
    return re.findall(rf"(?m)^(?:HEALTHCHECK .*)?{name} (.+)$", DOCKERFILE.replace("\\\n", ""))[-1]


class Image:
    """The file system that the Dockerfile makes, and a way to run something on it."""

    def __init__(self, folder: Path) -> None:
        self.app, self.venv, self.data = folder / "app", folder / "venv", folder / "data"
        self.isolated = can_isolate()

    def build(self) -> None:
        python = a_python_for_everybody(self.app.parent)
        self.libraries = python.parent.parent / "lib"
        clone = a_clone(self.app.parent / "clone")
        for name in in_the_image(clone):
            (self.app / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clone / name, self.app / name)
        for step in re.findall(r"(?m)^(?:RUN| &&) (python -m .+|/venv/bin/pip .+)$", DOCKERFILE.replace(" \\\n", "\n")):
            step = step.replace("python -m", f"{python} -m").replace("/venv", str(self.venv))
            subprocess.run(step.split(), cwd=self.app, check=True, capture_output=True)
        self.data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(self.data, 10001, 10001)
        else:  # who owns the files could write them
            subprocess.run(["chmod", "-R", "a-w", self.app, self.venv], check=True)

    def start(self, command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
        isolation = ["unshare", "--mount", "sh", "-ec", READ_ONLY, "sh"] if self.isolated else []
        user = {"user": 10001, "group": 10001, "extra_groups": []} if os.geteuid() == 0 and not isolation else {}
        variables = dict(re.findall(r"(\w+)=(\S+)", instruction("ENV"))) | environment
        variables |= {"PATH": f"{self.venv}/bin:{os.environ['PATH']}", "DATA": str(self.data), "HOME": str(self.data)}
        variables["LD_LIBRARY_PATH"] = str(self.libraries)
        with open(log, "ab") as output:
            return subprocess.Popen(
                [*isolation, *command],
                cwd=self.app,
                env=variables,
                stdout=output,
                stderr=output,
                **user,
            )

    def content(self) -> dict[str, int]:
        folders = (self.app, self.venv)
        return {str(file): file.lstat().st_mtime_ns for folder in folders for file in folder.rglob("*")}


def a_python_for_everybody(folder: Path) -> Path:
    """The interpreter of these tests or, where it is in somebody's home, a copy of it."""
    python, prefix = Path(sys._base_executable).resolve(), Path(sys.base_prefix)
    if all(parent.stat().st_mode & 0o001 for parent in python.parents):
        return python
    unneeded = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.a")
    shutil.copytree(prefix, folder / "python", symlinks=True, ignore=unneeded)
    return folder / "python" / python.relative_to(prefix)


def can_isolate() -> bool:
    """Whether this machine lets us make a file system of our own to look at, which takes root."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        return False
    trial = subprocess.run(["unshare", "--mount", "mount", "--make-rprivate", "/"], capture_output=True, check=False)
    return trial.returncode == 0


@pytest.fixture
def image() -> Iterator[Image]:
    folder = Path(tempfile.mkdtemp(prefix="image_", dir="/var/tmp"))  # not under /tmp, which gets covered
    folder.chmod(0o755)
    try:
        image = Image(folder)
        image.build()
        yield image
    finally:
        subprocess.run(["chmod", "-R", "u+w", folder], check=False)
        shutil.rmtree(folder)


def command_of(name: str) -> list[str]:
    return COMPOSE["services"][name].get("command") or json.loads(instruction("CMD"))


@pytest.mark.slow
@pytest.mark.interface
def test_what_is_in_the_image_runs_as_nobody_on_a_file_system_that_can_only_be_read(image, valkey, tmp_path):
    """S7, F13, Y1"""
    port, log = free_port(), tmp_path / "log"
    environment = {
        "DATABASE_URL": f"sqlite:///{image.data}/db.sqlite3",
        "EMAIL_FILE_PATH": f"{image.data}/sent_emails",
        "REDIS_URL": valkey,
        "SECRET_KEY": secrets.token_urlsafe(48),
        "JWT_SIGNING_KEY": secrets.token_urlsafe(48),
        "PORT": str(port),
    }
    before = image.content()

    @contextmanager
    def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        process = image.start(command, environment, log)
        try:
            yield process
        finally:
            process.send_signal(getattr(signal, instruction("STOPSIGNAL")))
            assert process.wait(timeout=60) in (0, -signal.SIGTERM), log.read_text()

    def until(text: str) -> None:
        for _look in range(600):
            if text in log.read_text():
                return
            time.sleep(0.1)
        pytest.fail(f"{text!r} was not said:\n{log.read_text()}")

    def succeeds(command: list[str]) -> bool:
        return image.start(command, environment, log).wait(timeout=60) == 0

    assert succeeds(command_of("migrate")), log.read_text()
    healthy = json.loads(re.findall(r"HEALTHCHECK .*CMD (.+)", DOCKERFILE)[0])
    assert not succeeds(healthy)
    command_of_web = json.loads(re.findall(r"(?m)^CMD (.+)", DOCKERFILE)[0])
    with ExitStack() as stack:
        for command in (command_of_web, command_of("worker"), command_of("beat")):
            stack.enter_context(running(command))
        until("ready.")
        until("beat: Starting")
        for _look in range(100):
            if succeeds(healthy):
                break
        with urlopen(f"http://127.0.0.1:{port}/static/admin/css/base.css", timeout=10) as answer:
            assert answer.status == 200
        body = json.dumps({"email": "ada@example.com", "password": "correct horse battery"}).encode()
        asked = Request(f"http://127.0.0.1:{port}/auth/users/", body, {"Content-Type": "application/json"})
        with urlopen(asked, timeout=10) as answer:
            assert answer.status == 201
        for _look in range(100):
            if mails := list(image.data.glob("sent_emails/*")):
                break
            time.sleep(0.1)
        assert len(mails) == 1
    assert image.content() == before
    assert "Traceback" not in log.read_text()
    if image.isolated:
        assert not succeeds(["touch", str(image.app.parent / "more")])
