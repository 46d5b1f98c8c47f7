"""Stand-ins that a real Triton serves for the end-to-end tests, each in a folder of its own.

``LAYOUT`` says by which name a model is served, from which folder its configuration comes and from which
its code: several schemas share one model.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from extproc.demo.parts import Triton

FOLDERS = Path(__file__).parent
# Name: the folder of its configuration, and that of its code.
LAYOUT = {
    # LLMs that answer once: not decoupled, so that infer reaches them.
    "sync_vllm": ("sync_vllm", "sync_vllm"),
    "sync_trtllm": ("sync_trtllm", "sync_vllm"),
    "sync_llmapi": ("sync_llmapi", "sync_vllm"),
    # One that streams as tensorrtllm does, with an empty final response.
    "late_final": ("late_final", "late_final"),
    # Text to eight numbers.
    "embedder": ("embedder", "embedder"),
    # Classifiers that judge prompts, of texts and of token ids.
    "text_judge": ("text_judge", "text_judge"),
    "token_judge": ("token_judge", "token_judge"),
}


def add_models(repository: Path, names: Iterable[str]) -> None:
    """Write models of ``LAYOUT`` into a model repository."""
    for name in names:
        configuration, code = LAYOUT[name]
        target = repository / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(FOLDERS / code / "1", target / "1", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(FOLDERS / configuration / "config.pbtxt", target / "config.pbtxt")


class TritonOf(Triton):
    """Triton with models of ``LAYOUT``, beside the demo's."""

    def __init__(self, state: Path, *, add: Sequence[str], **settings: Any) -> None:
        super().__init__(state, **settings)
        self._add = tuple(add)

    def command(self) -> Sequence[str | Path]:
        words = super().command()
        add_models(self.state / "models", self._add)
        return words
