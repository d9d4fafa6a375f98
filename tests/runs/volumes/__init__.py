"""Runs on volumes."""
