"""Serving: one process and its end, several of them under a supervisor, and the operations listener of each."""
