"""INTEGRATION DOOR. What goes out to, and comes in from, other systems."""
