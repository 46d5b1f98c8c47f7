"""The policy that new streams begin with: loaded when a file of it changes, or when asked to (SIGHUP).

The files are the policy's own and those that it is of no use without: the pepper of its keys' hashes.

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
_Signatures: TypeAlias = "tuple[_Signature, ...]"
_UNREAD: Final[_Signatures] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyStatus:
    """What metrics and people may know of the policy.

    ``taken`` counts policies taken since the start, the first included, and the same one with another
    pepper; ``refused`` counts what did not load. ``stale`` says that the file is not the policy that runs.
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
        beside: What else ``load`` reads. Files that change within ``policy_poll_ms`` are read together.
        now_unix_ms: The clock.

    Raises:
        PolicyError: the file does not check: a service never begins without a policy.
    """

    def __init__(
        self,
        path: Path,
        load: Callable[[bytes], RoutedPolicy],
        *,
        beside: Sequence[Path] = (),
        now_unix_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._path = path
        self._files = (path, *beside)
        self._load = load
        self._now_unix_ms = now_unix_ms
        content = read_content(path)
        self._policy = load(content)
        self._status = PolicyStatus(digest=self._policy.digest, loaded_at_unix_ms=now_unix_ms())
        self._running = _sha256(content)
        # What was last refused, to be told once: the digest of the content, and of why.
        self._refused = b""
        # The files as they were when last read at rest, and as they were at the last look.
        self._read: _Signatures = _UNREAD
        self._seen: _Signatures = _UNREAD
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
        """Begin to look after the files."""
        self._thread.start()

    def reload_soon(self) -> None:
        """Load the policy now, whether it looks changed or not. Returns at once; from any thread."""
        self._asked.set()
        self._wake.set()

    def close(self) -> None:
        """Stop looking; the policy stays."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def look(self) -> None:
        """Look at the files once, and load where they changed and rest, or where that was asked for."""
        signature = self._signatures()
        if asked := self._asked.is_set():
            self._asked.clear()
        resting = signature == self._seen
        self._seen = signature
        if not asked and (signature == self._read or not resting):
            return
        try:
            content = read_content(self._path)
        except PolicyError as error:
            if self._signatures() == signature:
                self._read = signature
                self._refuse(b"", str(error), asked=asked)
            return
        if self._signatures() != signature:
            # It changed under our eyes: half of one file and half of another is neither.
            if asked:
                self._asked.set()
            return
        # What was read on demand may change once more within the clock's grain: it is read again at rest.
        # So is what changes while it is loaded, as what is beside the policy is read then.
        self._read = signature if resting else _UNREAD
        self._take(content, asked=asked)

    def _watch(self) -> None:
        while not self._closing:
            self._wake.wait(LIMITS.policy_poll_ms / 1000)
            self._wake.clear()
            if not self._closing:
                self.look()

    def _signatures(self) -> _Signatures:
        return tuple(_signature_of(path) for path in self._files)

    # --- taking or refusing -----------------------------------------------------------------

    def _take(self, content: bytes, *, asked: bool) -> None:
        """Load and, where it is another policy or the same with another pepper, run it.

        The content alone does not say that: what is beside it may have changed, or be there at last.
        """
        try:
            policy = self._load(content)
        except PolicyError as error:
            self._refuse(content, str(error), asked=asked)
            return
        except Exception as error:  # noqa: BLE001 - a bug must not end the thread that looks after the file.
            report = bug_report(error)
            self._refuse(content, f"bug: {report.kind} at {report.where}", asked=asked)
            return
        digest, before = _sha256(content), self._policy
        if policy.identity == before.identity:
            if digest != self._running:
                LOG.info("policy file changed, its meaning did not; digest %s", policy.digest)
            elif asked or self._refused:
                LOG.info("policy unchanged, digest %s", policy.digest)
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
        pepper = " with another pepper" if policy.pepper_mark != before.pepper_mark else ""
        LOG.info("policy loaded%s, digest %s; streams that run keep theirs", pepper, policy.digest)

    def _settled(self, content_digest: bytes) -> None:
        """The file is the policy that runs."""
        self._running = content_digest
        self._refused = b""
        self._status = replace(self._status, stale=False)

    def _refuse(self, content: bytes, why: str, *, asked: bool) -> None:
        """Say why the running policy stays: once per content and reason, and whenever somebody asked."""
        refused = _sha256(_sha256(content) + why.encode())
        if refused == self._refused and not asked:
            return
        self._refused = refused
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


def _signature_of(path: Path) -> _Signature:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
