"""Text to scores: windows, models and the runtimes that run them. Imports nothing of ``extproc``."""
