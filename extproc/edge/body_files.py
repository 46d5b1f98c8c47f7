"""The folder of samples: ``FOLDER/WORKER/HOUR/RANDOM``, where HOUR is when their lifetime ends (UTC).

No part of a name is anybody's choice. One hour's samples are deleted together when that hour begins, so
that no file has to be opened, or believed, to know that its time has come.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOG = logging.getLogger("headgate.bodies")

_FOLDER_MODE: Final = 0o700
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_FILE_MODE: Final = 0o600
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_HOUR: Final = "%Y%m%dT%H"
_HOUR_NAME: Final = re.compile(r"[0-9]{8}T[0-9]{2}", re.ASCII)
_WORKER_NAME: Final = re.compile(r"[0-9]{1,3}", re.ASCII)
_FILE_NAME: Final = re.compile(r"[0-9a-f]{32}\.sample", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BodyFolder:
    """The samples of all workers; ``own`` is the folder of one of them."""

    def __init__(self, root: Path, worker: int = 0) -> None:
        self._root = root
        self.own = root / str(worker)

    def make(self) -> None:
        """Make the worker's folder, for the owner alone.

        Raises:
            OSError: it cannot be made, or what stands there is a link or somebody else's: samples would lie
                where nobody looks for them, and where others may read them.
        """
        for folder in (self._root, self.own):
            folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        found = self.own.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, f"{self.own.name} in it is a link: make it a folder")
        if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE:
            raise PermissionError(errno.EPERM, f"others may write in its folder {self.own.name}")
        if self._root.stat().st_mode & _OTHERS_WRITE:
            # No refusal: Kubernetes mounts volumes so.
            LOG.warning("others may write in %s: make it this user's alone (chmod 700)", self._root)

    def new_file(self, expires_unix_ms: int) -> Path:
        """A path for a new sample. Raises OSError where its folder cannot be made."""
        hour = self.own / _hour(expires_unix_ms)
        hour.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        return hour / f"{secrets.token_hex(16)}.sample"

    def samples(self) -> Iterator[Path]:
        """Every sample of every worker, those whose time comes last first."""
        for hour in sorted(self._hours(), key=lambda one: one.name, reverse=True):
            yield from _files_in(hour)

    def purge(self, now_unix_ms: int | None) -> int:
        """Delete the samples of all workers past their lifetime, or all; how many those were.

        Others may do the same at the same time. Raises OSError where a file cannot be deleted.
        """
        deleted = 0
        for hour in self._hours():
            if now_unix_ms is not None and hour.name > _hour(now_unix_ms):
                continue
            for file in _files_in(hour):
                with contextlib.suppress(FileNotFoundError):
                    file.unlink()
                    deleted += 1
            with contextlib.suppress(OSError):
                hour.rmdir()
        return deleted

    def disk_bytes(self) -> int:
        """What this worker's samples have on the disk."""
        total = 0
        for hour in _folders_in(self.own, _HOUR_NAME):
            for file in _files_in(hour):
                with contextlib.suppress(FileNotFoundError):
                    total += file.lstat().st_size
        return total

    def _hours(self) -> list[Path]:
        workers = _folders_in(self._root, _WORKER_NAME)
        return [hour for worker in workers for hour in _folders_in(worker, _HOUR_NAME)]


def write_file(path: Path, content: bytes) -> None:
    """Write a new file for the owner alone, whole or not at all. Raises OSError.

    Not synced: a power failure may take the last samples, which is no worse than having kept none.
    """
    descriptor = os.open(path, _FLAGS, _FILE_MODE)
    try:
        try:
            written = 0
            while written < len(content):
                written += _write(descriptor, content[written:])
        finally:
            os.close(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def probe(folder: Path) -> None:
    """See whether something can be written there. Raises OSError."""
    path = folder / f"{secrets.token_hex(16)}.probe"
    write_file(path, bytes(4096))
    path.unlink()


def _write(descriptor: int, data: bytes) -> int:
    """``os.write`` under a name of its own, so that a test can fill the disk."""
    return os.write(descriptor, data)


def _hour(unix_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=unix_ms)).strftime(_HOUR)


def _folders_in(folder: Path, name: re.Pattern[str]) -> list[Path]:
    """What is named like one of ours and no link: nothing else here is touched."""
    try:
        with os.scandir(folder) as entries:
            return [
                folder / one.name
                for one in entries
                if name.fullmatch(one.name) and one.is_dir(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return []


def _files_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [
                folder / one.name
                for one in entries
                if _FILE_NAME.fullmatch(one.name) and one.is_file(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return []
