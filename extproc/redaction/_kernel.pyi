from collections.abc import Callable

CLASSES: int
DEAD: int
FIRST: int
SOURCE_DIGEST: str
STATES_MAX: int
STOP: int
TEXT_CHARS_MAX: int
THREADS_MAX: int

class Table:
    def __init__(
        self,
        step: Callable[[int, int], int],
        begin: Callable[[int, int], int],
        classify: Callable[[int], int],
    ) -> None: ...
    def scan(
        self, texts: tuple[str, ...], first: int, kept: str, threads: tuple[tuple[int, int], ...]
    ) -> tuple[int, list[str], str, tuple[tuple[int, int], ...], int, int]: ...
