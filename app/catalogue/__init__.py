"""Which model files there are, where they come from and how the model repository is built."""
