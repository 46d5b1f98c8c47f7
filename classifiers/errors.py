"""What can go wrong between a text and its score. No message quotes a text."""

from __future__ import annotations


class ClassifierError(Exception):
    """Base of this package's own failures."""


class ModelError(ClassifierError):
    """A model that cannot be loaded; the message says what to do next."""


class LogitsError(ClassifierError):
    """A runtime answered with something that is no score: a wrong shape, or not a number."""


class ServerError(ClassifierError):
    """A server that runs a model did not answer. Its own words are not repeated: they may quote a text."""


class TooManyWindowsError(ClassifierError):
    """The texts need more windows than the caller allows. Nothing was scored and nothing was cut."""

    def __init__(self, windows_max: int) -> None:
        super().__init__(f"the texts need more than {windows_max} windows")
        self.windows_max = windows_max


class AbandonedError(ClassifierError):
    """The caller's ``proceed`` said that nobody waits for these scores any more."""

    def __init__(self) -> None:
        super().__init__("abandoned by the caller")
