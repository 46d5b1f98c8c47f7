"""One module per wire protocol: each exports one ``CODEC``, and an unknown path is refused.

Adding a codec is adding a module. Modules whose name begins with an underscore are parts that codecs share.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extproc.domain.head import RequestHead
    from extproc.domain.ports import Codec


def discover() -> tuple[Codec, ...]:
    """The codec of every module in this package, ordered by name."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))
    codecs: list[Codec] = []
    for name in names:
        codec: Codec = importlib.import_module(f"{__name__}.{name}").CODEC
        codecs.append(codec)
    return tuple(sorted(codecs, key=lambda codec: codec.name))


def codec_for(codecs: Iterable[Codec], head: RequestHead) -> Codec | None:
    """The codec that accepts a request; None where none does, or more than one: both are refused."""
    accepting = [codec for codec in codecs if codec.accepts(head)]
    return accepting[0] if len(accepting) == 1 else None
