"""Whether traces are wanted: the standard OTEL_* variables say so, and nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.domain.errors import HeadgateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.edge.tracing import Tracing

_PROTOCOL: Final = "http/protobuf"


class TracesUnavailable(HeadgateError):  # noqa: N818 - names the thing, as StartError does.
    """The environment asks for traces that this process cannot send."""


def traces_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment names an OTLP endpoint or exporter, and does not switch tracing off.

    Raises:
        TracesUnavailable: it asks for an exporter or a protocol that is not there.
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporter not in {"", "otlp", "none"}:
        raise TracesUnavailable("OTEL_TRACES_EXPORTER: write otlp or none")
    endpoint = _first(environment, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if exporter == "none" or not (exporter or endpoint):
        return False
    protocol = _first(environment, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in {"", _PROTOCOL}:
        raise TracesUnavailable(f"OTEL_EXPORTER_OTLP_PROTOCOL: write {_PROTOCOL}, the one that is spoken")
    return True


def open_tracing(environment: Mapping[str, str], *, joins_callers: bool = False) -> Tracing | None:
    """Tracing as the environment says; None where it says nothing. See ``Tracing`` for ``joins_callers``.

    Raises:
        TracesUnavailable: as ``traces_wanted``, or the packages for it are not installed.
    """
    if not traces_wanted(environment):
        return None
    try:
        from extproc.edge.tracing import Tracing  # noqa: PLC0415 - its packages are an extra.
    except ImportError:
        raise TracesUnavailable("OTEL_* asks for traces: install headgate[otel]") from None
    return Tracing.from_environment(environment, joins_callers=joins_callers)


def _first(environment: Mapping[str, str], *variables: str) -> str:
    return next((environment[name] for name in variables if environment.get(name)), "")
