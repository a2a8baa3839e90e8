"""The doors of attachments over plain HTTP: `POST /attachments`, and `GET /attachments/{id}`.

GraphQL carries names, sizes and addresses of files; their contents pass here, in pieces, and never as a whole through
memory.
"""
