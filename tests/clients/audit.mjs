// The audits of the GraphQL-over-HTTP specification against an endpoint: one line of JSON for each.
// `node audit.mjs <url>`.
import { serverAudits } from "graphql-http";

for (const audit of serverAudits({ url: process.argv[2], fetchFn: fetch })) {
  const { status, reason } = await audit.fn();
  console.log(JSON.stringify({ id: audit.id, name: audit.name, status, reason }));
}
