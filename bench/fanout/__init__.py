"""`python -m bench.fanout`: one event to many live workspaces, beside what else could have served them."""
