"""LIVE. From a committed event row to the frames of everyone who may see it."""
