"""Tortoise's own migrations: forward only, in the order of their numbers."""
