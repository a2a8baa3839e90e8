"""Defects"""

PLANTED = {}
