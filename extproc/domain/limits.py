"""Every bound of the service, with its unit and why it has that value.

Names end in their unit or in the thing counted. Envoy's own bounds in ``envoy/`` are tested against these.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one process. Defaults suit an LLM endpoint with text prompts."""

    # A 200k-token prompt is about 1 MB; 8 MB leaves room for long documents and stays far under
    # what one request may pin in memory. Nginx and Triton default to 1 MB and 64 MB.
    body_bytes_max: int = 8 * 1024 * 1024
    # Deeper JSON than this is an attack on a recursive parser; vllm_backend needs 3.
    json_depth_max: int = 64
    # Values and keys in one body: bounds the cost of a body of tiny elements (a 5 MB body of `[0,0,...`).
    json_nodes_max: int = 100_000
    # IEEE doubles need 17 significant digits; 64 covers any honest number.
    json_number_chars_max: int = 64
    # One SSE event of an LLM is under 1 KB per token; logprobs and tool calls reach tens of KB.
    frame_bytes_max: int = 1024 * 1024
    # A whole JSON answer that must be held to be judged.
    answer_bytes_max: int = 8 * 1024 * 1024
    # Requests within one stream (ModelStreamInfer) that may be open at once.
    exchanges_open_max: int = 64
    # Output texts of one exchange: choices x fields.
    channels_max: int = 64
    # Envoy advises pieces under 64 KiB in full duplex; llm-d uses the same number.
    reply_piece_bytes_max: int = 62_000
    # A client that dribbles its body is cut here.
    request_body_deadline_ms: int = 30_000
    # The classifier's answer must come within this; 10 windows of 256 tokens take about 150 ms on one core.
    classify_deadline_ms: int = 2_000
    # Texts waiting for the classifier before further ones are shed.
    classify_queue_max: int = 256
    # Windows of one exchange (64 x 192 tokens of stride: about 12,000 tokens); more is PROMPT_TOO_LONG.
    classify_windows_max: int = 256
    # Redis answers in well under 1 ms on a LAN; a slower one is treated as gone.
    ledger_deadline_ms: int = 250
    # A settlement is retried this often before the lease takes over and charges in full.
    settle_attempts_max: int = 5
    # A reservation lives this long unless renewed: twice Envoy's stream idle timeout would be 600 s,
    # but a crash should give tokens back to the books sooner; streams renew at half of it.
    lease_ms: int = 120_000
    # Code points that one channel may hold back; reached only by validated rules of bounded length.
    held_chars_max: int = 65_536
    # Verdict records waiting for the disk.
    record_queue_max: int = 10_000
    # Bytes of one gRPC message from Envoy: above a piece of body plus 96 KiB of headers.
    grpc_message_bytes_max: int = 16 * 1024 * 1024
    # Concurrent ext_proc streams of one process; Envoy gets RESOURCE_EXHAUSTED (a 500) above it.
    streams_open_max: int = 4_096
    # Streams that run may take this long to finish after SIGTERM.
    drain_deadline_ms: int = 30_000


LIMITS = Limits()
