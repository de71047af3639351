"""Policies and jobs in the frameworks that people train with: each file imports its one library."""
