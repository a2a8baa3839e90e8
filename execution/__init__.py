"""Running GraphQL operations: limits, one document cache, errors that leak nothing. Nothing here is of Deskwire."""
