"""A folder on an agency's SFTP server, by paramiko: the server proves that it is the one of the entry, or is left.

Handed to `file_drop`. A session has one deadline for all it does: past it the socket is shut, however busy the
server seems. A connection serves the sessions that follow closely on each other, and none that comes later.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import stat
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import paramiko
from paramiko.pkey import UnknownKeyType

from domain.agency import SftpServer
from infra.channels.folder import LISTED_MAX, Seen, no_folder

SESSION_SECONDS = 60.0
"""For a connection and all that is done on it: a file written, or a look at the answers."""

CONNECT_SECONDS = 10.0
"""For a server to take a connection; also between two words of it after that."""

KEEP_SECONDS = 5.0
"""Between two sessions on one connection: enough to put away, one by one, the answers that were just read."""

_ERRORS = (OSError, EOFError, ValueError, struct.error, paramiko.SSHException, paramiko.SFTPError)
"""All by which paramiko tells of servers and networks; the third and fourth are of answers that are no SFTP."""


@dataclass
class _Connection:
    line: socket.socket
    transport: paramiko.Transport
    client: paramiko.SFTPClient | None = None
    idle_since: float = 0.0

    def close(self) -> None:
        """The transport first: its thread reads from the socket."""
        self.transport.close()
        self.line.close()


class SftpFolder:
    """A folder on a server. Nothing of this machine's SSH is used: no agent, no known hosts, no keys of a user."""

    def __init__(self, server: SftpServer, folder: str, *, session_seconds: float = SESSION_SECONDS) -> None:
        self._server, self._session_seconds = server, session_seconds
        self._folder = folder if folder.endswith("/") else f"{folder}/"
        self._connection: _Connection | None = None

    @property
    def target(self) -> str:
        """Its address."""
        path = self._folder.strip("/")
        return f"sftp://{self._server.host}:{self._server.port}/{path}"

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """A connection for what is done in it."""
        late = threading.Event()

        def cut() -> None:
            late.set()
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.line.shutdown(socket.SHUT_RDWR)

        watch = threading.Timer(self._session_seconds, cut)
        watch.daemon = True
        watch.start()
        try:
            self._connect()
            yield
        except _ERRORS as why:
            self.close()
            if late.is_set():
                raise TimeoutError(0, f"the server did not do it within {self._session_seconds:g} s") from why
            raise OSError(0, _words(why)) from why
        finally:
            watch.cancel()
        if self._connection is not None:
            self._connection.idle_since = time.monotonic()

    def create(self, path: str, content: bytes) -> None:
        """A new file, all of which the server says it has."""
        try:
            file = self._sftp.open(self._at(path), "wx")
        except OSError as why:
            if self.look(path) is not None:
                raise FileExistsError(0, f"{path} is there") from why
            raise
        with file:
            file.set_pipelined(True)
            file.write(content)
        found = self.look(path)
        if found is None or found.size_bytes != len(content):
            raise OSError(0, f"the server has not all of {path}")

    def look(self, path: str) -> Seen | None:
        """What has this name."""
        try:
            found = self._sftp.lstat(self._at(path))
        except FileNotFoundError:
            return None
        return _seen(path.rpartition("/")[2], found)

    def rename(self, path: str, to: str) -> None:
        """In one step where the server knows how (OpenSSH's extension), else as the protocol has it."""
        self._refuse_links(path.rpartition("/")[0])
        self._refuse_links(to.rpartition("/")[0])
        try:
            self._sftp.posix_rename(self._at(path), self._at(to))
        except FileNotFoundError:
            raise
        except OSError:
            self._sftp.rename(self._at(path), self._at(to))

    def remove(self, path: str) -> None:
        """Delete a file."""
        self._sftp.remove(self._at(path))

    def make(self, path: str) -> None:
        """A folder below."""
        if self.look(path) is None:
            self._sftp.mkdir(self._at(path), 0o750)

    def files(self, path: str) -> list[Seen]:
        """The plain files, as the server lists them."""
        try:
            self._refuse_links(path)
            found = self._sftp.listdir_attr(self._at(path))
        except FileNotFoundError:
            return []
        plain = (one for one in found if stat.S_ISREG(one.st_mode or 0) and "/" not in one.filename)
        return [_seen(one.filename, one) for one in plain][:LISTED_MAX]

    def read(self, path: str, max_bytes: int) -> bytes:
        """The first so many bytes of a file."""
        self._refuse_links(path.rpartition("/")[0])
        with self._sftp.open(self._at(path), "rb") as file:
            return file.read(max_bytes)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _sftp(self) -> paramiko.SFTPClient:
        if self._connection is None or self._connection.client is None:
            raise OSError(0, "there is no session")
        return self._connection.client

    def _at(self, path: str) -> str:
        return self._folder + path

    def _refuse_links(self, path: str) -> None:
        """Raise OSError where a folder below is none. No more can be asked of a server than what it is just now."""
        names = path.split("/") if path else []
        for depth in range(len(names)):
            below = "/".join(names[: depth + 1])
            if not stat.S_ISDIR(self._sftp.lstat(self._at(below)).st_mode or 0):
                raise NotADirectoryError(0, no_folder(below))

    def _connect(self) -> None:
        kept = self._connection
        if kept is not None and kept.transport.is_active() and time.monotonic() - kept.idle_since < KEEP_SECONDS:
            return
        self.close()
        server = self._server
        line = socket.create_connection((server.host, server.port), timeout=CONNECT_SECONDS)
        try:
            self._connection = _Connection(line, paramiko.Transport(line))
        except BaseException:
            line.close()
            raise
        self._connection.client = self._opened(self._connection.transport)

    def _opened(self, transport: paramiko.Transport) -> paramiko.SFTPClient:
        """The server has proven itself before it hears of a user or a password."""
        transport.connect(hostkey=_host_key(self._server.host_key))
        if self._server.password is not None:
            password = self._server.password.value.decode()
            transport.auth_password(self._server.username, password, fallback=False)
        else:
            transport.auth_publickey(self._server.username, _key(self._server.key_file))
        client = paramiko.SFTPClient.from_transport(transport)
        channel = client.get_channel() if client is not None else None
        if client is None or channel is None:
            raise paramiko.SSHException("it offers no SFTP")
        channel.settimeout(CONNECT_SECONDS)
        return client


def _seen(name: str, found: paramiko.SFTPAttributes) -> Seen:
    return Seen(name, found.st_size or 0, (int(found.st_mtime or 0),))


def _host_key(line: str) -> paramiko.PKey:
    """The key of an entry. Raises ValueError for one that is none."""
    kind, _, key = line.partition(" ")
    try:
        return paramiko.PKey.from_type_string(kind, base64.b64decode(key, validate=True))
    except (ValueError, paramiko.SSHException, UnknownKeyType) as why:
        raise ValueError("host_key is no key of a kind that is known") from why


def _key(file: str) -> paramiko.PKey:
    """Our key. Raises ValueError for a file that has none, or one that is locked."""
    try:
        return paramiko.PKey.from_path(file)
    except (OSError, TypeError, ValueError, paramiko.SSHException, UnknownKeyType) as why:
        raise ValueError(f"{file} is no key that can be read without a password") from why


def _words(why: Exception) -> str:
    """What went wrong, for people."""
    match why:
        case paramiko.AuthenticationException():
            return "the server does not let us in: is the user, and its password or key, the one it knows?"
        case paramiko.SSHException() if "host key" in str(why):
            return "the server has another host key than the file of agencies says"
        case TimeoutError():
            return "the server does not answer"
        case EOFError():
            return "the server ended the connection"
        case _:
            return str(getattr(why, "strerror", None) or why)
