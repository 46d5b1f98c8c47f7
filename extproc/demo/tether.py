"""Runs a command that must not outlive the process that started it.

Run as a script by ``process``: asks the kernel to signal this process when its parent is gone, then becomes
the command. Doing that here, and not between fork and exec, keeps a threaded parent out of trouble.
"""

from __future__ import annotations

import ctypes
import os
import sys

# linux/prctl.h
_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Become ``argv[2:]``; ``argv`` begins with the parent's process id and the signal's number."""
    parent, signal_number, *command = argv
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent):
        sys.exit("the parent ended before its part began")
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted; the command is the caller's own.


if __name__ == "__main__":
    main(sys.argv[1:])
