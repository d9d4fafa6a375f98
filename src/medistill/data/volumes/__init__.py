"""Volumes: scans with masks of what is in them, prepared once and trained on in patches."""
