"""Files of the repository that the demo needs at run time."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parent.parent


def asset(name: str) -> Path:
    """A file by its path in the repository: of the checkout, or as the wheel carries it.

    Raises:
        FileNotFoundError: neither has it.
    """
    for root in (_PACKAGE / "assets", _CHECKOUT):
        path = root / name
        if path.is_file():
            return path
    raise FileNotFoundError(f"{name} is neither in the checkout nor in the installed package")
