"""Deployed networks to files that run without torch."""
