"""An agency's SFTP server: paramiko's server side on a port of this machine, over a real folder, in threads."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from paramiko.sftp import SFTP_FAILURE, SFTP_OK, SFTP_OP_UNSUPPORTED

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

USER, PASSWORD = "guard", "a long password"


@dataclass
class SftpAgency:
    """Where it is, how it proves itself, and how it behaves."""

    port: int
    root: Path
    host_key: str
    client_key: str = ""
    """The public key that it lets in."""
    posix_rename: bool = True
    loses_bytes: bool = False
    hang: threading.Event | None = None
    """While this is set, it answers no request."""
    connections: int = 0
    passwords: list[str] = field(default_factory=list)


class _Door(paramiko.ServerInterface):
    def __init__(self, agency: SftpAgency) -> None:
        self.agency = agency

    def check_auth_password(self, username: str, password: str) -> int:
        self.agency.passwords.append(password)
        good = (username, password) == (USER, PASSWORD)
        return AUTH_SUCCESSFUL if good else AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        good = username == USER and f"{key.get_name()} {key.get_base64()}" == self.agency.client_key
        return AUTH_SUCCESSFUL if good else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED


class _File(paramiko.SFTPHandle):
    def __init__(self, agency: SftpAgency, descriptor: int, flags: int) -> None:
        super().__init__(flags)
        self._agency, self._descriptor = agency, descriptor

    def read(self, offset: int, length: int) -> bytes | int:
        return os.pread(self._descriptor, length, offset)

    def write(self, offset: int, data: ReadableBuffer) -> int:
        whole = bytes(data)
        os.pwrite(self._descriptor, whole[:1] if self._agency.loses_bytes else whole, offset)
        return SFTP_OK

    def close(self) -> None:
        os.close(self._descriptor)


class _Folder(paramiko.SFTPServerInterface):
    def __init__(self, server: _Door) -> None:
        self._agency = server.agency

    def _path(self, path: str) -> Path:
        return self._agency.root / self.canonicalize(path).lstrip("/")

    def session_started(self) -> None:
        """Nothing to do."""

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        try:
            return [paramiko.SFTPAttributes.from_stat(one.lstat(), one.name) for one in self._path(path).iterdir()]
        except OSError as why:
            return paramiko.SFTPServer.convert_errno(why.errno or 0)

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        return self.lstat(path)

    def lstat(self, path: str) -> paramiko.SFTPAttributes | int:
        hang = self._agency.hang
        if hang is not None:
            hang.wait()
        try:
            return paramiko.SFTPAttributes.from_stat(self._path(path).lstat())
        except OSError as why:
            return paramiko.SFTPServer.convert_errno(why.errno or 0)

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> paramiko.SFTPHandle | int:
        try:
            return _File(self._agency, os.open(self._path(path), flags, 0o600), flags)
        except OSError as why:
            return paramiko.SFTPServer.convert_errno(why.errno or 0)

    def remove(self, path: str) -> int:
        return self._done(lambda: self._path(path).unlink())

    def rename(self, oldpath: str, newpath: str) -> int:
        if self._path(newpath).exists():
            return SFTP_FAILURE
        return self._done(lambda: self._path(oldpath).rename(self._path(newpath)))

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        if not self._agency.posix_rename:
            return SFTP_OP_UNSUPPORTED
        return self._done(lambda: self._path(oldpath).replace(self._path(newpath)))

    def mkdir(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        return self._done(lambda: self._path(path).mkdir())

    def _done(self, do: Callable[[], object]) -> int:
        try:
            do()
        except OSError as why:
            return paramiko.SFTPServer.convert_errno(why.errno or 0)
        return SFTP_OK


def line_of(key: paramiko.PKey) -> str:
    """A public key as it stands in `known_hosts`."""
    return f"{key.get_name()} {key.get_base64()}"


@contextlib.contextmanager
def sftp_agency(root: Path, key: paramiko.PKey) -> Iterator[SftpAgency]:
    """Serve a folder until the test is done."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        agency = SftpAgency(server.getsockname()[1], root, line_of(key))
        transports: list[paramiko.Transport] = []
        accepting = threading.Thread(target=_accept, args=(server, agency, key, transports))
        accepting.start()
        try:
            yield agency
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()
            if agency.hang is not None:
                agency.hang.set()
            for one in transports:
                one.close()


def _accept(
    server: socket.socket, agency: SftpAgency, key: paramiko.PKey, transports: list[paramiko.Transport]
) -> None:
    with contextlib.suppress(OSError):
        while True:
            line, _ = server.accept()
            agency.connections += 1
            transport = paramiko.Transport(line)
            transports.append(transport)
            transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Folder)
            # Told of its start by nobody: a client that leaves half way is none of our trouble.
            transport.start_server(event=threading.Event(), server=_Door(agency))
