"""The nouns of the service. Standard library only; imports nothing else of ``extproc``."""
