"""Trains what the project adds to published weights, and measures it on photos that were not trained on."""
