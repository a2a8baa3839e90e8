import { Client, fetchExchange, subscriptionExchange } from "@urql/core";
import { createClient } from "graphql-ws";
import { onEnd, pipe, subscribe as listen } from "wonka";

export function connect(url, token, { withSocket = true } = {}) {
  const headers = { authorization: `Bearer ${token}` };
  const socket = createClient({ url: url.replace(/^http/, "ws"), connectionParams: headers, retryAttempts: 0 });
  const forwardSubscription = ({ query, variables }) => ({
    subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
  });
  const client = new Client({
    url,
    fetchOptions: { headers },
    preferGetMethod: false,
    fetchSubscriptions: !withSocket, // as server-sent events
    exchanges: withSocket ? [subscriptionExchange({ forwardSubscription }), fetchExchange] : [fetchExchange],
  });

  function subscribe(query, variables, sink) {
    const results = client.subscription(query, variables);
    return pipe(results, onEnd(sink.complete), listen((result) => {
      // The last result of a stream repeats the data of the one before it, beside its own errors.
      if (result.error) sink.error(result.error.networkError ?? result.error);
      else sink.next(result);
    })).unsubscribe;
  }
  const query = (text, variables) => client.query(text, variables).toPromise();
  const mutate = (text, variables) => client.mutation(text, variables).toPromise();
  return { subscribe, query, mutate };
}
