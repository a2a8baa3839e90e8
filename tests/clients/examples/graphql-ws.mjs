import { createClient } from "graphql-ws";

export function connect(url, token) {
  const client = createClient({
    url: url.replace(/^http/, "ws"),
    connectionParams: { authorization: `Bearer ${token}` },
    retryAttempts: 0, // `follow` tries again, and knows the cursor
  });
  const subscribe = (query, variables, sink) => client.subscribe({ query, variables }, sink);
  return { subscribe };
}
