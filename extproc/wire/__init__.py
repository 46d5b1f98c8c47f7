"""Bytes to structure and back: incremental, bounded, and locating, so that edits can be spliced in."""
