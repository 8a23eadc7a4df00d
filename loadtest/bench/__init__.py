"""The service beside the limit of its machine: the same models and the same work in bare processes."""
