"""Reads a Dockerfile into stages: enough of its grammar for ours."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch


@dataclass(frozen=True)
class Stage:
    """One ``FROM``; instructions are its name and the text after it."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [text for name, text in self.instructions if name == instruction]

    def last(self, instruction: str) -> str:
        return self.all(instruction)[-1]

    @property
    def copies(self) -> list[tuple[str | None, list[str]]]:
        """Each COPY: the stage that it takes from, or None for the build's folder, and its sources."""
        found = []
        for text in self.all("COPY"):
            words = shlex.split(text)
            stages = [word.removeprefix("--from=") for word in words if word.startswith("--from=")]
            sources = [word for word in words if not word.startswith("--")][:-1]
            found.append((stages[0] if stages else None, sources))
        return found


def parse(text: str) -> tuple[dict[str, str], list[Stage]]:
    """The ARGs before the first stage, and the stages."""
    lines = [line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in joined.split("\n"):
        name, _, rest = line.strip().partition(" ")
        match name:
            case "ARG" if not stages:
                key, _, value = rest.partition("=")
                arguments[key] = value
            case "FROM":
                base, _, stage = rest.partition(" AS ")
                resolved = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], base)
                stages.append(Stage(stage, resolved))
            case _:
                stages[-1].instructions.append((name, re.sub(r"\s+", " ", rest)))
    return arguments, stages


def is_sent(path: str, ignore: Sequence[str]) -> bool:
    """Whether a path is sent to the build, by these lines of .dockerignore; the last match decides."""
    sent = True
    for line in ignore:
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        wanted = pattern.startswith("!")
        pattern = pattern.removeprefix("!")
        parts = path.split("/")
        heads = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        nested = pattern.removeprefix("**/")
        names = parts if pattern.startswith("**/") else heads
        if any(fnmatch(name, nested) for name in names):
            sent = wanted
    return sent
