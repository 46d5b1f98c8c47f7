"""The demo: every part on one machine, started, watched and ended together. The tests start theirs so."""
