"""Executors: who trains. This process, worker processes of this machine, or a Ray cluster."""
