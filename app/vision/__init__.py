"""Pure NumPy and Pillow: pixels in, pixels and geometry out; no I/O, no async."""
