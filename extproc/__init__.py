"""Headgate: an Envoy external-processing filter for LLM serving.

Data flows one way. ``edge/`` turns Envoy's messages into events, ``core/`` turns events into commands,
``codecs/`` locate text on the wire, ``redaction/`` and ``guards/`` detect and decide, and ``edge/``
performs the commands. Refusing is the value of every missing branch.
"""
