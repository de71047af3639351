"""Samplers: who suggests policies."""
