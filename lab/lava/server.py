"""A whole LAVA server on this machine's loopback, out of Debian's packages: unpacked, none of them installed. Database, web
server, scheduler and worker live in one folder and end with the command that started them."""
from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

import requests

from lab.lava import job, results
from lab.lava.tools import PACKAGES, stubs
from lab.packages import missing
from lab.process import tail
from lab.qemu.cache import Cache
from lab.qemu.errors import BedError
from lab.qemu.packages import PackageStore, parse_depends

DEVICE_TYPE, DEVICE, WORKER, USER = "displif-cts-qemu", "displif-cts-qemu-01", "displif-cts-worker", "displif-cts"
_TYPE = Path(__file__).with_name("qemu.device-type.jinja2")
_LIBRARIES = Path("usr/lib/python3/dist-packages")
_START_SECONDS = 180.0
_END_SECONDS = 40.0  # a job that is cancelled ends its machine first
_STEP = 1.0  # between two questions of the same kind
_END_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM", "--")
_NO_USE = ("libjs-", "libllvm", "python3-minimal", "lava-server-doc")  # of what lava-server and PostgreSQL want besides


@dataclass(frozen=True)
class Parts:
    """Unpacked packages."""

    trees: Mapping[str, Path]
    stubs: Path

    def environment(self) -> dict[str, str]:
        python = [self.stubs, *(tree / _LIBRARIES for tree in self.trees.values() if (tree / _LIBRARIES).is_dir())]
        libraries = [folder for tree in self.trees.values() for root in ("lib", "usr/lib") for folder in sorted((tree / root).glob("*-linux-gnu"))]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, python)), "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
                "PYTHONDONTWRITEBYTECODE": "1", "DJANGO_SETTINGS_MODULE": "lava_server.settings.prod"}

    def program(self, package: str, name: str) -> Path:
        return self.trees[package] / "usr" / "bin" / name

    @property
    def database_programs(self) -> Path:
        """initdb, postgres, createdb: those that need one another's folder, in one."""
        return next(path for path in self.trees["postgresql"].glob("usr/lib/postgresql/*/bin"))


def wanted_packages(graph: Mapping[str, Sequence[str]]) -> list[str]:
    """What lava-server and the database need of Python's and C's libraries, of apt's dependencies."""
    names = ["lava-server", *(name for name in graph.get("postgresql", []) if name.startswith("postgresql-1") or name.startswith("postgresql-2"))]
    for name in names:  # grows while it is walked
        names += [other for other in graph.get(name, []) if other not in names and not other.startswith(_NO_USE)
                  and other.startswith(("python3-", "lib", "lava-", "gunicorn", "postgresql-client-"))]
    return names


def obtain(cache: Cache, progress: Callable[[str, float | None], None]) -> Parts:
    """Downloads what neither this machine nor the cache has. Raises BedError."""
    store = PackageStore(cache, "amd64", progress)
    kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    asked = store.ask(["apt-cache", "depends", "--recurse", *(f"--no-{kind}" for kind in kinds), "lava-server", "postgresql"])
    names = wanted_packages(parse_depends(asked.stdout))
    if asked.returncode != 0 or len(names) < 2:
        raise BedError("apt does not know lava-server and postgresql", "run `sudo apt-get update`; Debian 12 has both in main")
    database = [name for name in names if name.startswith("postgresql-")]
    names = sorted({*missing(names), "lava-server", *PACKAGES, *database})
    trees = store.unpack(store.find(names).values())
    return Parts({**trees, "postgresql": _joined(cache, [trees[name] for name in database])}, stubs(cache))


def _joined(cache: Cache, trees: Sequence[Path]) -> Path:
    """PostgreSQL's server looks for its clients beside itself."""
    target = cache.root / "lava-postgresql"
    if not target.is_dir():
        with cache.temporary("postgresql") as work:
            for tree in trees:
                shutil.copytree(tree / "usr", work / "all" / "usr", symlinks=True, dirs_exist_ok=True)
            try:
                os.rename(work / "all", target)
            except OSError:  # another run was first
                if not target.is_dir():
                    raise
    return target


class Server:
    """In `folder`, which must be empty and have a short name (a socket's address has 107 characters). Use it with `with`."""

    def __init__(self, parts: Parts, folder: Path, progress: Callable[[str, float | None], None], tags: Sequence[str] = ()) -> None:
        self._parts, self._folder, self._progress, self._tags = parts, folder, progress, tags
        self._stack = ExitStack()
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.secret = secrets.token_hex(16)  # of the API's user
        self.port = _free_port()

    def __enter__(self) -> "Server":
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, **posted: str) -> requests.Response:
        """Of the server's REST API. Raises BedError."""
        self._look_after_children()
        url, headers = f"{self.url}/api/v0.2/{path}", {"Authorization": f"Token {self.secret}"}
        try:
            answer = requests.post(url, json=posted, headers=headers, timeout=60) if posted else requests.get(url, headers=headers, timeout=60)
        except requests.RequestException as error:
            raise BedError(f"LAVA's server does not answer: {error}") from None
        if answer.status_code >= 400:
            page = "text/html" in answer.headers.get("Content-Type", "")
            raise BedError(f"LAVA's server: {answer.status_code} at {path}" + ("" if page else f": {answer.text[:500]}"))
        return answer

    def submit(self, text: str) -> int:
        return int(self.ask("jobs/", definition=text).json()["job_ids"][0])

    def wait(self, number: int, seconds: float) -> dict[str, Any]:
        """The job's record, when it has finished. Raises BedError."""
        limit = time.monotonic() + seconds
        while (record := self.ask(f"jobs/{number}/").json())["state"] != "Finished":
            if time.monotonic() > limit:
                raise BedError(f"LAVA's job {number} is {record['state']} after {seconds:.0f} s")
            time.sleep(_STEP)
        return dict(record)

    def results(self, number: int) -> dict[str, str]:
        """LAVA's name of each of the suite's cases -> result, as its database has them."""
        wanted = {suite["id"] for suite in self._all(f"jobs/{number}/suites/") if suite["name"] == results.SUITE}
        return {test["name"]: test["result"] for test in self._all(f"jobs/{number}/tests/") if test["suite"] in wanted}

    def _all(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page = self.ask(f"{path}?limit=100&page=1").json()
        while True:
            found += page["results"]
            if not page.get("next"):
                return found
            page = self.ask(f"{path}?{page['next'].partition('?')[2]}").json()

    def log(self, number: int) -> bytes:
        return self.ask(f"jobs/{number}/logs/").content

    def _start(self) -> None:
        for name in ("devices", "types", "health", "dispatcher", "media", "worker", "static"):
            (self._folder / name).mkdir()
        (self._folder / "types" / f"{DEVICE_TYPE}.jinja2").write_text(_TYPE.read_text())
        (self._folder / "devices" / f"{DEVICE}.jinja2").write_text(job.qemu_server_device(DEVICE_TYPE))
        self._start_database()
        self._manage("migrate", "--no-input")
        # A job's number is its folder's name in /var/lib/lava, which several workers of this machine may share.
        self._once("numbers", [self._parts.database_programs / "psql", "-h", self._folder, "-U", "lava", "lava", "-c",
                               f"ALTER SEQUENCE lava_scheduler_app_testjob_id_seq RESTART WITH {os.getpid()}"])
        self._manage("users", "add", USER, "--superuser", "--passwd", self.secret)
        self._manage("tokens", "add", "--user", USER, "--secret", self.secret)
        self._manage("device-types", "add", DEVICE_TYPE)
        token = self._manage("workers", "add", WORKER).split()[-1]
        self._manage("devices", "add", DEVICE, "--device-type", DEVICE_TYPE, "--worker", WORKER, *(["--tags", *self._tags] if self._tags else []))
        (self._folder / "token").write_text(token)
        self._run("web", [sys.executable, "-m", "gunicorn", "lava_server.wsgi", "--bind", f"127.0.0.1:{self.port}", "--workers", "1", "--threads", "8"])
        self._until("LAVA's web server", lambda: self.ask("system/version/").ok)
        self._run("scheduler", [sys.executable, self._parts.program("lava-server", "lava-server"), "manage", "lava-scheduler", "--log-file", "-",
                                "--level", "INFO", "--user", "root", "--group", "root", "--event-url", f"ipc://{self._folder}/events"])
        self._run("worker", [sys.executable, self._parts.program("lava-dispatcher", "lava-worker"), "--url", self.url, "--name", WORKER,
                             "--worker-dir", self._folder / "worker", "--token-file", self._folder / "token", "--ping-interval", "5",
                             "--log-file", "-", "--level", "INFO"])
        self._until("LAVA's worker", lambda: self.ask(f"workers/{WORKER}/").json()["state"] == "Online")

    def _start_database(self) -> None:
        programs, data = self._parts.database_programs, self._folder / "database"
        self._once("initdb", [*_not_root(), programs / "initdb", "-D", data, "-U", "lava", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"])
        # A process that gets into another user namespace is no longer told of its parent's death: said once more behind it.
        self._run("database", [*_not_root(), *_END_WITH_PARENT, programs / "postgres", "-D", data, "-k", self._folder, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "jit=off"])
        self._until("PostgreSQL", lambda: self._call([programs / "createdb", "-h", self._folder, "-U", "lava", "lava"]).returncode == 0)

    def _environment(self) -> dict[str, str]:
        folder = self._folder
        settings = {"DEVICES_PATH": str(folder / "devices"), "HEALTH_CHECKS_PATH": str(folder / "health"), "DISPATCHER_CONFIG_PATH": str(folder / "dispatcher"),
                    "DEVICE_TYPES_PATHS": [str(folder / "types"), str(self._parts.trees["lava-server"] / "usr/share/lava-server/device-types")],
                    "MEDIA_ROOT": str(folder / "media"), "STATIC_ROOT": str(folder / "static"), "DJANGO_LOGFILE": str(folder / "django.log"),
                    "EVENT_NOTIFICATION": False,
                    "DATABASES": {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "lava", "USER": "lava", "HOST": str(folder)}}}
        return {**self._parts.environment(), "SECRET_KEY": self.secret, "LAVA_JSON_SETTINGS": base64.b64encode(json.dumps(settings).encode()).decode()}

    def _manage(self, *words: str) -> str:
        return self._once(words[0], [sys.executable, self._parts.program("lava-server", "lava-server"), "manage", *words])

    def _once(self, what: str, argv: Sequence[str | Path]) -> str:
        self._progress(f"server: {what}", None)
        done = self._call(argv)
        if done.returncode != 0:
            raise BedError(f"LAVA's {what} ended with status {done.returncode}: {done.stdout.strip()[-500:]}")
        return done.stdout

    def _call(self, argv: Sequence[str | Path]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(argv, cwd=self._folder, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False)

    def _run(self, name: str, argv: Sequence[str | Path]) -> None:
        """Until the server ends."""
        self._progress(f"server: {name}", None)
        self._children.append((name, self._stack.enter_context(_service(argv, self._folder, self._environment(), self._folder / f"{name}.log"))))

    def _until(self, what: str, answers: Callable[[], bool]) -> None:
        limit = time.monotonic() + _START_SECONDS
        while True:
            self._look_after_children()
            trouble = ""
            try:
                if answers():
                    return
            except BedError as error:
                trouble = f": {error.message}"
            if time.monotonic() > limit:
                raise BedError(f"{what} is not up after {_START_SECONDS:.0f} s{trouble}")
            time.sleep(_STEP)

    def _look_after_children(self) -> None:
        for name, child in self._children:
            if child.poll() is not None:
                raise BedError(f"LAVA's {name} ended with status {child.returncode}: {tail(self._folder / f'{name}.log', 3)}")


@contextmanager
def _service(argv: Sequence[str | Path], folder: Path, environment: Mapping[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Ends with the `with`, or with us, however we end. So does what it has started: LAVA's worker leaves its job to itself."""
    with open(log, "wb") as out:
        child = subprocess.Popen([*_END_WITH_PARENT, *argv], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield child
    finally:
        limit = time.monotonic() + _END_SECONDS
        _signal(_session(child.pid), signal.SIGTERM)
        while child.poll() is None or _session(child.pid):
            if time.monotonic() > limit:
                _signal(_session(child.pid), signal.SIGKILL)
            time.sleep(0.05)


def _session(leader: int) -> list[int]:
    """Processes of the session that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if session == str(leader) and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def _signal(processes: Sequence[int], number: int) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            pass


def _not_root() -> list[str]:
    """PostgreSQL refuses to be root's: a user namespace in which its owner has another number. Raises BedError."""
    wrapper = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"]
    if subprocess.run([*wrapper, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode != 0:
        raise BedError("PostgreSQL refuses to run as root, and no user namespace can be had here")
    return wrapper


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
