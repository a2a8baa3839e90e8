// A client library as a program: commands come as lines of JSON on standard input, what happens leaves as lines of
// JSON on standard output. `node driver.mjs <library> <url> <token> [without-socket]`.
//
//   {do: "follow", name, query, variables}     {name, item} …, {name, refused: [codes]}
//   {do: "stop", name}                         {name, stopped: true}
//   {do: "query" | "mutate", name, query, …}   {name, answer: {data, errors}}
import { createInterface } from "node:readline";
import { follow } from "./examples/follow.mjs";

const [library, url, token, without] = process.argv.slice(2);
const { connect } = await import(`./examples/${library}.mjs`);
const client = connect(url, token, { withSocket: without !== "without-socket" });
const streams = new Map();

const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

function began({ name, query, variables }) {
  const use = (item) => say({ name, item });
  const refused = (errors, failure) => say({ name, refused: errors.map(codeOf), failure: String(failure) });
  // What a library says of an end is told, so that a test that waits for something else shows it when it fails.
  const watched = (text, values, sink) => client.subscribe(text, values, {
    ...sink,
    error(failure) {
      say({ name, interrupted: String(failure?.reason ?? failure?.message ?? failure) });
      sink.error(failure);
    },
  });
  streams.set(name, follow(watched, query, variables, use, refused));
}

const codeOf = ({ extensions, message }) => extensions?.code ?? message;

const commands = {
  follow: began,
  stop({ name }) {
    streams.get(name)();
    say({ name, stopped: true });
  },
  async query({ name, query, variables }) {
    say({ name, answer: await client.query(query, variables).catch(failed) });
  },
  async mutate({ name, query, variables }) {
    say({ name, answer: await client.mutate(query, variables).catch(failed) });
  },
};

const failed = (failure) => ({ failed: String(failure) });

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  await commands[command.do](command);
}
process.exit(0);
