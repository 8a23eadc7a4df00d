"""Likeness: a REST service that finds similar images and similar faces in named groups."""

__version__ = "0.1.0"
