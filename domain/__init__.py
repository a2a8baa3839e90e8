"""THE RULES. What may happen and what then happens. Knows tables; knows nothing of GraphQL, HTTP or brokers.

`def` decides and touches nothing; `async def` reads or writes.
"""
