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
    # Request bodies of all streams of one process together, from their first byte until their stream
    # ends: a text takes up to four times its bytes in memory. More is a 503, so that no caller can fill
    # the memory.
    bodies_bytes_max: int = 256 * 1024 * 1024
    # Of those, one tenant's share.
    tenant_bodies_bytes_max: int = 64 * 1024 * 1024
    # What a segment or a tool of a request counts for there beside its text, and a seam within a segment:
    # measured as 135 to 198, and 40, on CPython 3.11. So 45,000 short strings count for 9 MB.
    part_bytes: int = 200
    seam_bytes: int = 40
    # Bytes that one byte of a compressed request may decode to: prose has 3 to 5, logs and JSON up to 20,
    # bombs a thousand. What all streams together hold is counted as it came.
    decoded_ratio_max: int = 32
    # Deeper JSON than this is an attack on a recursive parser; vllm_backend needs 3.
    json_depth_max: int = 64
    # Values and keys in one body: bounds the cost of a body of tiny elements (a 5 MB body of `[0,0,...`) to
    # about 0.1 s; a chat of 1,000 messages with 100 tools needs under 20,000.
    json_nodes_max: int = 50_000
    # Fields of one protobuf message, strings of its tensors, and values of a JSON document among them: the
    # same, for gRPC. The requests of one stream that are open share it.
    protobuf_fields_max: int = 50_000
    # Fields that are looked at for the id of a request that was refused, of which there may be twice
    # exchanges_open_max in one chunk; an honest one has some twenty.
    unread_fields_max: int = 256
    # Outputs that one KServe request lists; a model has a few.
    outputs_max: int = 256
    # IEEE doubles need 17 significant digits; 64 covers any honest number.
    json_number_chars_max: int = 64
    # A number of more digits is judged like text, since a card number fits in it: counts, seeds of 32 bits
    # and times in seconds have 10.
    number_digits_max: int = 10
    # Dimensions of one tensor: models have up to five.
    tensor_dimensions_max: int = 16
    # One SSE event of an LLM is under 1 KB per token; logprobs and tool calls reach tens of KB.
    frame_bytes_max: int = 1024 * 1024
    # A whole JSON answer that must be held to be judged.
    answer_bytes_max: int = 8 * 1024 * 1024
    # Tokens that a server may say one answer has, in one count and over all: what a tensor of 32 bits can
    # say. More is no count, and could not be charged.
    answer_tokens_max: int = 2**31 - 1
    # Requests within one stream (ModelStreamInfer) that may be open at once.
    exchanges_open_max: int = 64
    # Prompts or inputs of one request for completions or embeddings: as many as OpenAI takes.
    prompts_max: int = 2_048
    # Output texts of one exchange that go on at once: choices x fields.
    channels_max: int = 64
    # Texts of one answer that could go on, those that are over too: 16 choices with 30 tool calls each. One
    # costs some hundred bytes and, whenever a choice ends, a look at it.
    answer_texts_max: int = 1_024
    # Envoy advises pieces under 64 KiB in full duplex; llm-d uses the same number.
    reply_piece_bytes_max: int = 62_000
    # A client that dribbles its body is cut here.
    request_body_deadline_ms: int = 30_000
    # The classifier's answer must come within this. It must exceed what classify_windows_max takes on the
    # slowest machine that is meant to serve (16 to 32 ms a window of 256 tokens on one core): otherwise a
    # long prompt could force a deadline, which ``on_error: allow`` lets pass.
    classify_deadline_ms: int = 5_000
    # Texts waiting for the classifier before further ones are shed.
    classify_queue_max: int = 256
    # Of these one tenant's, unless they are of a single call: so that none fills the queue.
    classify_tenant_queue_max: int = 64
    # A thread still busy this long after its call's deadline counts as hung: a batch takes well under it.
    classify_stall_ms: int = 2_000
    # How often readiness asks Redis.
    ready_interval_ms: int = 1_000
    # The same where one request is explained offline, on whatever machine somebody has at hand.
    explain_classify_deadline_ms: int = 120_000
    # Windows of one exchange (128 x 192 tokens of stride: about 24,000 tokens); more is PROMPT_TOO_LONG.
    classify_windows_max: int = 128
    # Redis answers in well under 1 ms on a LAN; a slower one is treated as gone.
    ledger_deadline_ms: int = 250
    # A settlement is retried this often before the lease takes over and charges in full.
    settle_attempts_max: int = 5
    # Pauses between those attempts: doubled from the first, so that five span 3.75 s, a quick failover.
    settle_pause_first_ms: int = 250
    # Connections to Redis of one process; at 0.3 ms each they carry far more than one process can ask.
    ledger_connections_max: int = 16
    # Failures in a row after which Redis counts as gone and is not asked; then one call per this time
    # tries it.
    ledger_failures_max: int = 3
    ledger_open_ms: int = 1_000
    # A settled reservation is remembered for this long, so that a repeated settlement, or a reservation
    # that was delayed on its way, changes nothing: far above all retries.
    settled_remembered_ms: int = 300_000
    # A lease that ran out is remembered for this long, so that a late settlement corrects it. Crashes are
    # rare; a settlement after that is charged on top.
    expired_remembered_ms: int = 3_600_000
    # The longest lease that a policy may ask for, and the largest number of tokens that a limit may name:
    # Lua counts in doubles, exact up to 2^53.
    lease_ms_max: int = 3_600_000
    limit_tokens_max: int = 10**12
    # A reservation lives this long unless renewed: twice Envoy's stream idle timeout would be 600 s,
    # but a crash should give tokens back to the books sooner; streams renew at half of it.
    lease_ms: int = 120_000
    # Code points that one channel may hold back; reached only by validated rules of bounded length.
    held_chars_max: int = 65_536
    # Values of one stream that stand as tokens before the model, the newest where there are more: a
    # pasted list of a thousand customers with mail and phone has 2,000. Each costs some hundred bytes.
    pseudonyms_max: int = 4_096
    # One of those values: what a name, a number or an address has. An answer that repeats a token grows
    # by up to ten times.
    pseudonym_chars_max: int = 256
    # Characters of a masked value that are written, the last ones: a value may have no end, its mask has.
    mask_chars_max: int = 256
    # Schemas within one JSON schema of a request or a policy; the largest tools have some hundred.
    schema_nodes_max: int = 5_000
    # Steps in which all that one answer says in JSON is judged by its schemas: about 0.1 s. Honest ones
    # take some thousand.
    schema_steps_max: int = 100_000
    # Characters of all patterns within the schemas of one request, and their states, repeats written out:
    # about 0.05 s to read. A hundred tools with some patterns each have less.
    pattern_states_max: int = 20_000
    # System prompts whose shingles are remembered: a service has a few, at 2 MB for one of 100,000
    # characters.
    prompts_remembered_max: int = 16
    # Phrases of all topics of one policy, and words of one: what is held of an answer while one may go on.
    # In scripts without spaces each character is a word.
    phrases_max: int = 10_000
    phrase_words_max: int = 16
    # Tools that a policy names, and characters of one name: Anthropic's and MCP's bound.
    tool_names_max: int = 1_000
    tool_name_chars_max: int = 128
    # A word that may be a link and is held; what is longer is looked at in overlapping windows of this
    # size.
    link_word_chars_max: int = 1_024
    # A run of letters that judges of an answer take for one word; what is longer counts as several.
    word_chars_max: int = 128
    # One rule may hold back this much before it accepts or dies (a connection string's user and password
    # are the longest honest case), which bounds what the union of all rules holds.
    rule_hold_chars_max: int = 512
    # Characters in a row of which nothing is seen, within one match: an emoji's flag has seven. More end
    # what could have matched, so that a rule holds back no more than 33 times what it says.
    unseen_run_chars_max: int = 32
    # Of text that a model reads for names and addresses: the longest window, what it sees before the part
    # that it decides, and the longest entity, which is what is held back at least.
    model_window_chars_max: int = 256
    model_left_chars: int = 64
    model_entity_chars_max: int = 96
    # A sentence shorter than this is read together with the next: an answer of line ends would else be a
    # window for every character of it.
    model_window_chars_min: int = 48
    # What a judge model sees before the part that it judges: about the two sentences before.
    judge_left_chars: int = 256
    # Windows of one question to a model, and questions about one answer that wait for it; what is more is
    # asked when one of them is answered. So one answer takes 16 places of a model's queue at most.
    model_windows_max: int = 8
    answer_questions_max: int = 2
    # Texts of one stream that wait for models that only tell. They hold nothing up, and what is more is not
    # read: as many as may go on at once.
    answer_told_texts_max: int = 64
    # A model's answer about an answer's text must come within this, the time in its queue included.
    spans_deadline_ms: int = 5_000
    # Bytes of an answer, and pieces in which they came, that wait behind a text whose end a model has not
    # read yet: what a fast model writes for several others in the longest wait for that. More is a refusal.
    answer_waiting_bytes_max: int = 1024 * 1024
    answer_waiting_chunks_max: int = 4_096
    # Positions of one rule's body with its repeats written out; an honest long token has 300.
    rule_positions_max: int = 4_096
    # States of one rule alone; more is a body that explodes. The largest shipped rule has under 1,500.
    rule_states_max: int = 8_192
    # Moves that are looked at to make one rule's states: under a second. The largest has 40,000.
    rule_steps_max: int = 2_000_000
    # States that the union automaton keeps; they are made on demand and all dropped when full (16 MB).
    automaton_states_max: int = 16_384
    # Of those, the ones that the compiled kernel numbers for one choice of rules (512 bytes each: 2 MB).
    kernel_states_max: int = 4_096
    # Moves of one rule that has a naming part, by place and character (0.5 MB).
    naming_moves_max: int = 4_096
    # Texts and held text that the kernel reads; the engine looks for candidates in longer ones first. Its
    # steps per character of a text, too, are bounded in its source.
    kernel_text_chars_max: int = 4_096
    # Masks whose prefilter is kept: one per distinct choice of entity types over all policies.
    prefilters_max: int = 64
    # Distinct characters whose class is remembered; more only costs time.
    char_classes_max: int = 16_384
    # Live starts of one channel: 33 was the peak over adversarial texts. More fails the stream closed.
    scan_threads_max: int = 256
    # An API key: ours have 51 characters, vendors' up to about 200; more would only cost hashing time.
    api_key_chars_max: int = 512
    # One policy file: 1,000 tenants with two keys each take about 300 KB; YAML costs about 1 s per MB.
    policy_bytes_max: int = 1024 * 1024
    # Nesting of a policy file; its own schema needs 7.
    policy_depth_max: int = 16
    # Faults of a policy file that are listed at once; more hide the first one.
    policy_faults_max: int = 20
    # Rules of an operator's own in one file; the shipped packs hold 300.
    policy_rules_max: int = 200
    # A rule's pattern as it is written; the longest shipped one has 1,200.
    rule_pattern_chars_max: int = 4_096
    # A text that a rule must or must not match.
    rule_example_chars_max: int = 4_096
    # How often the policy file is looked at. A change counts once it has rested for one such time: a file
    # that is being written is not read.
    policy_poll_ms: int = 1_000
    # Routes that Envoy names and the policy does not: each is logged once, and no more of them.
    routes_reported_max: int = 64
    # An Envoy configuration that a policy is compared with; a large mesh's has some megabytes.
    envoy_file_bytes_max: int = 16 * 1024 * 1024
    # A price of a million tokens in US dollars: the dearest models cost some hundred; more is a slip of the
    # unit.
    price_usd_max: int = 10_000
    # Verdict records waiting for the disk. From the half on no new stream is taken: the other half is for
    # those that run, of which there are streams_open_max at most.
    record_queue_max: int = 10_000
    # A record is on the disk after this long, or as soon as so many wait: what a crash can lose.
    record_flush_ms: int = 100
    record_batch_max: int = 1_000
    # The end of the process waits this long for a disk that does not take the last records.
    record_close_ms: int = 5_000
    # Text kept of one exchange where a policy keeps any: more is not kept. The request is in memory anyhow;
    # the answer is only for this, and 2,048 tokens of it have about 8 KB.
    sample_bytes_max: int = 1024 * 1024
    sample_answer_bytes_max: int = 256 * 1024
    # Samples that wait for their disk, and their text; what does not fit is not kept.
    sample_queue_max: int = 256
    sample_queue_bytes_max: int = 64 * 1024 * 1024
    # Disk that one process may fill with samples: a week of one sample of 10 KB each second is 6 GB.
    samples_disk_bytes_max: int = 10 * 1024 * 1024 * 1024
    # How often samples past their lifetime are looked for. They are filed by the hour in which
    # it ends, so that none outlives it by more than this.
    sample_purge_ms: int = 3_600_000
    # A disk that was full or failed is tried again after this pause.
    sample_retry_ms: int = 5_000
    # The end of the process waits this long for samples that are not written.
    sample_close_ms: int = 5_000
    # The longest lifetime that a policy may ask for: what is kept longer is an archive.
    sample_lifetime_days_max: int = 365
    # Series of one metric: a thousand tenants with a few outcomes each; more are counted together.
    metric_series_max: int = 10_000
    # Effects of one exchange that its trace shows; an exchange has about three.
    trace_effects_max: int = 32
    # What is left of the traces may take this long to be sent when the process ends.
    trace_close_ms: int = 5_000
    # Bytes of one gRPC message from Envoy: above a piece of body plus 96 KiB of headers.
    grpc_message_bytes_max: int = 16 * 1024 * 1024
    # Concurrent ext_proc streams of one process; Envoy gets RESOURCE_EXHAUSTED (a 500) above it.
    streams_open_max: int = 4_096
    # Of those, one tenant's share, so that one key cannot take every slot: a quarter.
    tenant_streams_open_max: int = 1_024
    # A chunk of an answer is judged in slices of this size, with a turn for other streams between two: text
    # made for it costs the scanner some microseconds a character.
    answer_slice_bytes_max: int = 32 * 1024
    # Streams that run may take this long to finish after SIGTERM.
    drain_deadline_ms: int = 30_000
    # After SIGTERM new streams are still taken for this long, while health and readiness say no: above one
    # interval and one timeout of the health check in envoy/, so that Envoy sends none to a closed door.
    drain_notice_ms: int = 2_500
    # How often the answer to health checks is brought up to date: a quarter of Envoy's interval.
    health_refresh_ms: int = 250
    # One question of `headgate ready` to a worker: a health check's own time limit is above it.
    ready_probe_ms: int = 2_000
    # Workers of one service: as many as a large machine has cores to give.
    workers_max: int = 64
    # A dead worker is started again after this pause, doubled per death within the time below.
    worker_pause_first_ms: int = 250
    worker_pause_max_ms: int = 8_000
    # So many deaths of one worker within that time are a crash loop, which ends the service. A start takes
    # some seconds, most of them for the classifier.
    worker_deaths_max: int = 5
    worker_deaths_within_ms: int = 120_000
    # After SIGTERM workers have this long beyond their own notice and drain: settlements, inferences and
    # the verdict log each end within their bounds.
    worker_stop_margin_ms: int = 70_000
    # A certificate, key or bundle of authorities: a bundle of 150 roots takes 250 KB.
    tls_file_bytes_max: int = 1024 * 1024
    # The longest path of a UNIX socket (sun_path of 108 bytes, one for the closing zero).
    socket_path_bytes_max: int = 107


LIMITS = Limits()
