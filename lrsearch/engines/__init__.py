"""Engines: who runs the trials."""
