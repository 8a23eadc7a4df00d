"""Faults on purpose, at random, under clients whose every answer is checked: see ``__main__``."""
