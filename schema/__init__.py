"""THE CONTRACT. GraphQL types, inputs, payloads and the context of a resolver. Nothing here decides anything."""

from schema import enums as enums
