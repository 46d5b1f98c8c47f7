"""Reads a model manifest (TOML). Every complaint names the file, the field and what belongs there."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from classifiers.errors import ModelError
from classifiers.model import Activation, DirectorySource, Head, Manifest, PinnedFile, WheelSource

if TYPE_CHECKING:
    from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class _Table:
    """One table of the file; whatever is read from it has the type that was asked for."""

    file: str
    path: str
    members: dict[str, object]

    def wrong(self, key: str, wanted: str) -> ModelError:
        return ModelError(f"{self.file}: {self.path}{key} must be {wanted}")

    def only(self, *keys: str) -> _Table:
        unknown = sorted(set(self.members) - set(keys))
        if unknown:
            raise self.wrong(unknown[0], f"removed: known here are {', '.join(keys)}")
        return self

    def table(self, key: str) -> _Table:
        member = self.members.get(key)
        if not isinstance(member, dict):
            raise self.wrong(key, "a table")
        return _Table(self.file, f"{self.path}{key}.", member)

    def text(self, key: str) -> str:
        member = self.members.get(key)
        if not isinstance(member, str) or not member:
            raise self.wrong(key, "a string that is not empty")
        return member

    def integer(self, key: str, least: int) -> int:
        member = self.members.get(key)
        if not isinstance(member, int) or isinstance(member, bool) or member < least:
            raise self.wrong(key, f"an integer of at least {least}")
        return member

    def number(self, key: str) -> float:
        member = self.members.get(key)
        if not isinstance(member, (int, float)) or isinstance(member, bool):
            raise self.wrong(key, "a number")
        return float(member)

    def boolean(self, key: str) -> bool:
        member = self.members.get(key)
        if not isinstance(member, bool):
            raise self.wrong(key, "true or false")
        return member


def read_manifest(file: Path) -> Manifest:
    """Read a manifest; a ``source.directory`` in it is relative to the manifest itself.

    Raises:
        ModelError: the file cannot be read or something in it is missing, unknown or out of range.
    """
    try:
        members = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"{file}: cannot be read ({error.strerror}); give the path of a manifest"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: is not TOML: {error}") from None
    top = _Table(str(file), "", members)
    top.only(
        "id", "licence", "window_tokens", "stride_tokens", "row_independent", "source", "files", "heads"
    )
    files = top.table("files").only("weights", "tokenizer", "config")
    heads = top.table("heads")
    if not heads.members:
        raise top.wrong("heads", "a table with at least one head")
    return Manifest(
        id=_plain_name(top, "id"),
        licence=top.text("licence"),
        source=_source(top.table("source"), file.parent),
        weights=_pinned(files.table("weights")),
        tokenizer=_pinned(files.table("tokenizer")),
        config=_pinned(files.table("config")),
        window_tokens=top.integer("window_tokens", 3),
        stride_tokens=top.integer("stride_tokens", 1),
        row_independent=top.boolean("row_independent"),
        heads={name: _head(name, heads.table(name)) for name in heads.members},
    )


def _source(table: _Table, beside: Path) -> WheelSource | DirectorySource:
    if "directory" in table.members:
        table.only("directory")
        return DirectorySource(directory=beside / table.text("directory"))
    table.only("distribution", "version", "folder")
    return WheelSource(
        distribution=table.text("distribution"), version=table.text("version"), folder=table.text("folder")
    )


def _pinned(table: _Table) -> PinnedFile:
    table.only("name", "sha256")
    digest = table.text("sha256")
    if not _SHA256.fullmatch(digest):
        raise table.wrong("sha256", "64 lower-case hexadecimal digits (sha256sum FILE prints them)")
    return PinnedFile(name=_plain_name(table, "name"), sha256=digest)


def _plain_name(table: _Table, key: str) -> str:
    name = table.text(key)
    # No separator and no leading dot: a name can never leave its folder.
    if not _PLAIN_NAME.fullmatch(name):
        raise table.wrong(key, "letters, digits, '.', '_' and '-' only, and begin with a letter or digit")
    return name


def _head(name: str, table: _Table) -> Head:
    table.only("column", "activation", "temperature", "threshold")
    activation = table.text("activation")
    if activation not in set(Activation):
        raise table.wrong("activation", f"one of {', '.join(Activation)}")
    temperature, threshold = table.number("temperature"), table.number("threshold")
    if not 0.0 < temperature < float("inf"):
        raise table.wrong("temperature", "a finite number above 0")
    if not 0.0 < threshold < 1.0:
        raise table.wrong("threshold", "a number between 0 and 1, both excluded")
    return Head(
        name=name,
        column=table.integer("column", 0),
        activation=Activation(activation),
        temperature=temperature,
        threshold=threshold,
    )
