import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { createClient } from "graphql-ws";

export function connect(url, token, { withSocket = true } = {}) {
  const headers = { authorization: `Bearer ${token}` };
  const http = new HttpLink({ uri: url, headers }); // subscriptions too, as multipart answers
  const socket = createClient({ url: url.replace(/^http/, "ws"), connectionParams: headers, retryAttempts: 0 });
  const isLive = ({ operationType }) => withSocket && operationType === "subscription";
  const client = new ApolloClient({
    link: ApolloLink.split(isLive, new GraphQLWsLink(socket), http),
    cache: new InMemoryCache(),
  });

  function subscribe(query, variables, sink) {
    const items = client.subscribe({ query: gql(query), variables, fetchPolicy: "no-cache" });
    const subscription = items.subscribe(sink);
    return () => subscription.unsubscribe();
  }
  const query = (text, variables) => client.query({ query: gql(text), variables });
  const mutate = (text, variables) => client.mutate({ mutation: gql(text), variables });
  return { subscribe, query, mutate };
}
