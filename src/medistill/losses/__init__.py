"""Tensors to scalars; no model, device or logger in here."""
