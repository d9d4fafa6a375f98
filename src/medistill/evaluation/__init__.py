"""Deployed networks to numbers."""
