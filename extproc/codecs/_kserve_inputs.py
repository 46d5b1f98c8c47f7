"""The inputs of a KServe v2 request as they were read, on whichever wire: see ``_kserve_reading``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs import _triton_fields as fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extproc.codecs._sampling_document import SamplingDocument
    from extproc.domain.segment import Params, Segment, Unscanned
    from extproc.wire.strict_json import Text

Scalar = str | int | float | bool

ANY_INPUT: Final = "inputs.*"
ANY_PARAMETER: Final = "parameters.*"
ANY_SAMPLING: Final = "sampling_parameters.*"

INPUT_IDS: Final = "input_ids"
_ENGINE_LIMIT: Final = "request_output_len"


class Input(NamedTuple):
    """An input tensor as a wire found it.

    ``strings`` are those of a BYTES tensor, None for one that is no UTF-8; ``numbers`` gives the values of
    any other.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values_count: int
    strings: tuple[str | None, ...]
    numbers: Callable[[], tuple[int | float | bool, ...]]


class TensorSite(NamedTuple):
    """String ``element`` of input ``at``; with ``inner`` a text of the document within it."""

    at: int
    element: int
    inner: Text | None = None


class ParameterSite(NamedTuple):
    """The value of a request parameter."""

    name: str


class IdSite(NamedTuple):
    """The request's id."""


class NumberSite(NamedTuple):
    """A number of a tensor, where no text could stand instead."""


Site = TensorSite | ParameterSite | IdSite | NumberSite


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What was read.

    ``sites`` say where the text of each segment stands. ``tensors`` are the positions of inputs by name.
    ``limit_tensor``, ``limit_parameter`` and the document's own limit are the limits that stand, of which
    there is at most one. ``flags`` are the boolean tensors that hold true.
    """

    segments: tuple[Segment, ...]
    sites: tuple[Site, ...]
    unscanned: frozenset[Unscanned]
    params: Params
    tensors: Mapping[str, int]
    shapes: tuple[tuple[int, ...], ...]
    document: tuple[int, SamplingDocument] | None
    limit_tensor: tuple[str, int] | None
    limit_parameter: tuple[str, int] | None
    flags: frozenset[str]

    @property
    def has_document(self) -> bool:
        """Whether ``sampling_parameters`` stands: vllm_backend then looks nowhere else."""
        return self.document is not None

    @property
    def limit_field(self) -> str:
        """Where tensorrtllm's limit belongs: the engine alone, given ids of tokens, calls it otherwise."""
        engine = INPUT_IDS in self.tensors and fields.TEXT_INPUT not in self.tensors
        return _ENGINE_LIMIT if engine else fields.MAX_TOKENS

    def shape_beside(self) -> tuple[int, ...]:
        """The shape of one value for each prompt, as a tensor to be added must have it."""
        prompt = self.tensors.get(fields.TEXT_INPUT, self.tensors.get(INPUT_IDS))
        shape = () if prompt is None else self.shapes[prompt]
        return (shape[0], *([1] * (len(shape) - 1))) if len(shape) > 1 else (1,)
