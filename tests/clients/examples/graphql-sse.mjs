import { createClient } from "graphql-sse";

export function connect(url, token) {
  const client = createClient({
    url,
    headers: { authorization: `Bearer ${token}` },
    retryAttempts: 0, // `follow` tries again, and knows the cursor
  });
  const subscribe = (query, variables, sink) => client.subscribe({ query, variables }, sink);
  return { subscribe };
}
