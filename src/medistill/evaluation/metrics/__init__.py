"""Metrics on arrays of targets and probabilities."""
