"""Generated from ``proto/classifiers`` by ``proto/generate.py``."""
