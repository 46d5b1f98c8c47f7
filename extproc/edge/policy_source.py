"""The policy that new streams begin with: loaded again when its file changes, or when asked to (SIGHUP).

A file that does not check never takes the place of the policy that runs. A stream keeps the snapshot that
it was given, so that a change reaches only the streams that begin after it.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from extproc.core.refusals import bug_report
from extproc.domain.errors import PolicyError
from extproc.domain.limits import LIMITS
from extproc.policy.envoy_routes import shown_route
from extproc.policy.loading import read_content

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from extproc.domain.ports import PolicySnapshot
    from extproc.policy.snapshot import RoutedPolicy

LOG = logging.getLogger("headgate.policy")

# Device, inode, last change of content and of the inode, bytes. Links are followed, so that the swap of
# Kubernetes' ``..data`` link shows; None where there is no file.
_Signature: TypeAlias = "tuple[int, int, int, int, int] | None"
_UNREAD: Final[_Signature] = (0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyStatus:
    """What metrics and people may know of the policy.

    ``taken`` counts policies taken since the start, the first included; ``refused`` counts contents that
    did not check. ``stale`` says that the file is not the policy that runs.
    """

    digest: str
    loaded_at_unix_ms: int
    taken: int = 1
    refused: int = 0
    stale: bool = False


class PolicySource:
    """Holds the running policy, and looks after its file in a thread of its own.

    Args:
        path: The policy file. Replace it by renaming; one that is written in place is read once it rests.
        load: Makes a policy of the file's content, or raises PolicyError. Never called by two threads at
            once.
        now_unix_ms: The clock.

    Raises:
        PolicyError: the file does not check: a service never begins without a policy.
    """

    def __init__(
        self,
        path: Path,
        load: Callable[[bytes], RoutedPolicy],
        *,
        now_unix_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._path = path
        self._load = load
        self._now_unix_ms = now_unix_ms
        content = read_content(path)
        self._policy = load(content)
        self._status = PolicyStatus(digest=self._policy.digest, loaded_at_unix_ms=now_unix_ms())
        self._running = _sha256(content)
        # What was last refused, to be told once: the digest of the content, or of why there is none.
        self._refused = b""
        # The file as it was when last read at rest, and as it was at the last look.
        self._read: _Signature = _UNREAD
        self._seen: _Signature = _UNREAD
        self._asked = threading.Event()
        self._routes_reported: set[str] = set()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._watch, name="headgate-policy", daemon=True)

    # --- for streams and metrics ------------------------------------------------------------

    def on(self, routes: Sequence[str]) -> PolicySnapshot:
        """The policy for a new stream; see ``RoutedPolicy.on``. Called from the event loop only."""
        policy = self._policy
        snapshot = policy.on(routes)
        if snapshot is policy.refusing:
            self._report(routes)
        return snapshot

    @property
    def status(self) -> PolicyStatus:
        """What runs, and how the last change went. From any thread."""
        return self._status

    # --- the file ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look after the file."""
        self._thread.start()

    def reload_soon(self) -> None:
        """Read the file now, whether it looks changed or not. Returns at once; from any thread."""
        self._asked.set()
        self._wake.set()

    def close(self) -> None:
        """Stop looking; the policy stays."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def look(self) -> None:
        """Look at the file once, and load it where it changed and rests, or where that was asked for."""
        signature = self._signature()
        if asked := self._asked.is_set():
            self._asked.clear()
        resting = signature == self._seen
        self._seen = signature
        if not asked and (signature == self._read or not resting):
            return
        try:
            content = read_content(self._path)
        except PolicyError as error:
            if self._signature() == signature:
                self._read = signature
                self._refuse(_sha256(str(error).encode()), str(error), asked=asked)
            return
        if self._signature() != signature:
            # It changed under our eyes: half of one file and half of another is neither.
            if asked:
                self._asked.set()
            return
        # What was read on demand may change once more within the clock's grain: it is read again at rest.
        self._read = signature if resting else _UNREAD
        self._take(content, asked=asked)

    def _watch(self) -> None:
        while not self._closing:
            self._wake.wait(LIMITS.policy_poll_ms / 1000)
            self._wake.clear()
            if not self._closing:
                self.look()

    def _signature(self) -> _Signature:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size

    # --- taking or refusing -----------------------------------------------------------------

    def _take(self, content: bytes, *, asked: bool) -> None:
        digest = _sha256(content)
        if digest == self._running:
            if asked or self._refused:
                LOG.info("policy unchanged, digest %s", self._policy.digest)
            self._settled(digest)
            return
        if digest == self._refused and not asked:
            return
        try:
            policy = self._load(content)
        except PolicyError as error:
            self._refuse(digest, str(error), asked=asked)
            return
        except Exception as error:  # noqa: BLE001 - a bug must not end the thread that looks after the file.
            report = bug_report(error)
            self._refuse(digest, f"bug: {report.kind} at {report.where}", asked=asked)
            return
        if policy.digest == self._policy.digest:
            LOG.info("policy file changed, its meaning did not; digest %s", policy.digest)
            self._settled(digest)
            return
        self._policy = policy
        self._routes_reported = set()
        self._settled(digest)
        self._status = replace(
            self._status,
            digest=policy.digest,
            loaded_at_unix_ms=self._now_unix_ms(),
            taken=self._status.taken + 1,
        )
        LOG.info("policy loaded, digest %s; streams that run keep theirs", policy.digest)

    def _settled(self, content_digest: bytes) -> None:
        """The file is the policy that runs."""
        self._running = content_digest
        self._refused = b""
        self._status = replace(self._status, stale=False)

    def _refuse(self, content_digest: bytes, why: str, *, asked: bool) -> None:
        """Say why the running policy stays: once per content, and whenever somebody asked."""
        if content_digest == self._refused and not asked:
            return
        self._refused = content_digest
        self._status = replace(self._status, refused=self._status.refused + 1, stale=True)
        faults = " | ".join(why.splitlines())
        LOG.error("policy refused, %s stays: %s", self._policy.digest[:12], faults)

    def _report(self, routes: Sequence[str]) -> None:
        """Say once that a route is closed: the clients' refusals do not tell the operator why."""
        name = shown_route(routes[0]) if len(routes) == 1 else ""
        if name in self._routes_reported or len(self._routes_reported) >= LIMITS.routes_reported_max:
            return
        self._routes_reported.add(name)
        if name:
            LOG.error("route %s is not in the policy file: its requests are refused", name)
        else:
            LOG.error("a stream names several routes: it is refused")


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
