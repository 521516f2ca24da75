"""Readers, converters, the asset manifest and small hand-written samples."""
