"""``headgate`` with a disk for bodies that is full from the first sample on; for tests alone."""

from __future__ import annotations

import errno
import os
import sys

from extproc.edge import body_files


class FullDisk:
    """Takes probes of zeros until something else comes; then nothing any more."""

    def __init__(self) -> None:
        self._full = False

    def write(self, descriptor: int, data: bytes) -> int:
        self._full |= bool(data.strip(b"\0"))
        if self._full:
            # Half of it, as a disk does that fills up under a file.
            os.write(descriptor, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, data)


if __name__ == "__main__":
    from extproc.cli import main

    body_files._write = FullDisk().write
    sys.exit(main())
