"""Talking to Triton: the client, what the models say of themselves, the micro-batcher."""
