"""The programs that some tests run and that no wheel brings: where they are, and how they come to be there.

Used by tests, which skip where a program is missing, and as a command by `make test`, which makes them be there on
a Debian where it may: Chromium as a package of the machine, Prometheus unpacked below .venv, so that none of its
services is ever started. It installs nothing anywhere else, and says what is missing.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

PACKAGES = {"chromium": "chromium", "promtool": "prometheus", "prometheus": "prometheus"}
"""Debian's package of each program."""

UNPACKED = Path(__file__).parents[1] / ".venv" / "tools"
"""Where a package is unpacked that would start a service if it were installed."""

POLICY = Path("/usr/sbin/policy-rc.d")
"""What packages ask before they start a service (Debian Policy, 9.3.3); there is none on most machines."""

TRIES = 3
"""Mirrors are busy now and then."""

TRY_MAX_SECONDS = 600
"""A hundred megabytes over a slow line."""

QUIET = ("-qq", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=120")


class ToolsError(Exception):
    """A program can't be had here; the message says why."""


def tool(name: str) -> Path:
    """Where a program is. Skips the test where it is missing; with GUARD_TEST_NO_SKIP a skip fails."""
    if (found := find(name)) is None:
        pytest.skip(f"{name} is missing: `make test` installs it on Debian as root, or install {PACKAGES[name]}")
    return found


def find(name: str) -> Path | None:
    """Where a program of `PACKAGES` is: on the machine, or unpacked by `main`."""
    unpacked = UNPACKED / "usr/bin" / name
    found = shutil.which(name) or (str(unpacked) if unpacked.exists() else None)
    return Path(found) if found else None


def main() -> None:
    """Make the programs be there, where that is ours to do; what is missing then is said, and is no error."""
    missing = sorted({package for name, package in PACKAGES.items() if find(name) is None})
    if not missing:
        return
    _say(f"the tests want {' and '.join(missing)} of Debian: getting them, which takes a minute, once")
    try:
        _get(missing)
    except ToolsError as why:
        _say(f"{why}\nThe tests that need {' and '.join(missing)} are skipped; the others run.")


def _get(packages: list[str]) -> None:
    if _system() != "debian":
        raise ToolsError("This is no Debian, so install them as this system does.")
    if os.geteuid():
        raise ToolsError(
            f"Only root may install them: apt-get install --no-install-recommends {' '.join(packages)}"
        )
    _run("apt-get", *QUIET, "update")  # A machine that is made from an image knows versions that are gone.
    for package in packages:
        if package == "prometheus":
            _unpack(package)
        else:
            with _no_service_starts():
                _run("apt-get", *QUIET, "install", "--yes", "--no-install-recommends", package)


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("ID", "")
    except OSError:  # No Linux, or a very small one.
        return ""


def _unpack(package: str) -> None:
    """Only its files, without the scripts that make a user and start a service."""
    with TemporaryDirectory() as folder:
        # As root: the account that apt fetches by may not write to the folder.
        _run("apt-get", *QUIET, "-o", "APT::Sandbox::User=root", "download", package, folder=folder)
        (archive,) = Path(folder).glob("*.deb")
        _run("dpkg-deb", "--extract", str(archive), str(UNPACKED))


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Packages that come along start nothing."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def _run(*command: str, folder: str | None = None) -> None:
    """Run a command, again where it fails. Raises ToolsError."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    said = ""
    for _ in range(TRIES):
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, timeout=TRY_MAX_SECONDS, check=False,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as why:
            raise ToolsError(str(why)) from why
        if not done.returncode:
            return
        said = done.stdout[-2_000:].strip()
    raise ToolsError(f"`{' '.join(command)}` failed {TRIES} times:\n{said}")


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


if __name__ == "__main__":
    main()
