"""COMPOSITION. Configuration, authentication, routes, jobs and the command line: the only package that knows all."""
