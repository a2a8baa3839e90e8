"""INTEGRATIONS. Doors to other systems: they decode what comes in, call verbs of the domain, and pass on what goes out.

They speak no GraphQL, and know nothing of the doors that do.
"""
