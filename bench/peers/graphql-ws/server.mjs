// The peer: graphql-ws on ws, as its guide shows it, with the contract's SessionEnded and the same amount of data.
// From memory: no database, no permission, no cursor. Whoever posts an item says what the subscribers receive.
import { EventEmitter, on } from 'node:events';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { buildSchema } from 'graphql';
import { useServer } from 'graphql-ws/use/ws';
import { WebSocketServer } from 'ws';

const schema = buildSchema(readFileSync(new URL('schema.graphql', import.meta.url), 'utf8'));
schema.getType('TicketEvent').resolveType = () => 'MessagingSessionEnded';

const bell = new EventEmitter();
bell.setMaxListeners(0);

async function* sessionEnded() {
  for await (const [item] of on(bell, 'ended')) yield { sessionEnded: item };
}

const http = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  bell.emit('ended', JSON.parse(Buffer.concat(parts)).variables.item);
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end('{"data":{"endSession":true}}');
});

useServer({ schema, roots: { subscription: { sessionEnded } } }, new WebSocketServer({ server: http, path: '/graphql' }));
http.listen({ port: 0, host: '127.0.0.1', backlog: 1024 }, () => {
  console.log(`serving on http://127.0.0.1:${http.address().port}`);
});
