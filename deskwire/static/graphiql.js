// GraphiQL with a bar to choose who asks, and a panel of examples. No build step: React comes as a plain script.
"use strict";

const { createElement: h, useEffect, useMemo, useState } = React;
const KEPT = "deskwire.token";

/** A token comes in the fragment (never sent to a server, and taken out of the address at once) or from this tab. */
function initialToken(people) {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) history.replaceState(null, "", location.pathname);
  return given ?? sessionStorage.getItem(KEPT) ?? people[0]?.token ?? "";
}

function socketAddress(endpoint) {
  return new URL(endpoint, location.href.replace(/^http/, "ws")).href.replace(/#.*$/, "");
}

function authorization(token) {
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** One fetcher for one token: POST for queries and mutations, one WebSocket for all subscriptions. */
function createFetcher(endpoint, token) {
  const client = graphqlWs.createClient({
    url: socketAddress(endpoint),
    connectionParams: authorization(token),
    lazyCloseTimeout: 1000,
  });
  const fetcher = (params, options) =>
    isSubscription(options?.documentAST, params.operationName)
      ? stream(client, params)
      : post(endpoint, params, { ...authorization(token), ...options?.headers });
  fetcher.dispose = () => client.dispose();
  return fetcher;
}

async function post(endpoint, params, headers) {
  const response = await fetch(endpoint, {
    method: "POST",
    headers: { accept: "application/graphql-response+json, application/json;q=0.9", "content-type": "application/json", ...headers },
    body: JSON.stringify(params),
  });
  return response.json();
}

// Not an async generator: its return() waits for the next event, so Stop would do nothing on a quiet stream.
function stream(client, params) {
  const events = client.iterate(params);
  return {
    [Symbol.asyncIterator]() { return this; },
    next: () => events.next().catch((error) => { throw readable(error); }),
    return: () => events.return(),
  };
}

function readable(error) {
  if (error instanceof CloseEvent) return new Error(`The socket was closed: ${error.code} ${error.reason}`);
  return error instanceof Event ? new Error("The socket could not be opened.") : error;
}

function isSubscription(document, name) {
  const operations = (document?.definitions ?? []).filter((each) => each.kind === "OperationDefinition");
  return (operations.find((each) => each.name?.value === name) ?? operations[0])?.operation === "subscription";
}

function editor(selector) {
  return document.querySelector(`${selector} .CodeMirror`)?.CodeMirror;
}

const queryEditor = () => editor(".graphiql-query-editor");
const variablesEditor = () => editor(".graphiql-editor-tool .graphiql-editor");
const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 30)));

/** Show an example in its own tab; a second click brings that tab back as it was. */
async function load(example) {
  const tabs = [...document.querySelectorAll(".graphiql-tab-button")];
  const own = tabs.find((each) => each.textContent === example.name);
  const target = own ?? (queryEditor().getValue().trim() ? document.querySelector(".graphiql-tab-add") : null);
  target?.click();
  await painted();
  queryEditor().setValue(example.query);
  variablesEditor().setValue(variablesOf(example));
  queryEditor().focus();
}

/** The first visit begins with the first example; later ones with the tabs that the browser kept. */
async function welcome(example) {
  while (!queryEditor() || !variablesEditor()) await painted();
  if (example && !queryEditor().getValue().trim()) await load(example);
}

function variablesOf(example) {
  return Object.keys(example.variables).length ? JSON.stringify(example.variables, null, 2) : "";
}

function kindOf(example) {
  const found = new RegExp(`^\\s*(query|mutation|subscription)\\s+${example.name}\\b`, "m").exec(example.query);
  return found?.[1] ?? "query";
}

function Examples({ examples }) {
  const kinds = [["query", "Ask"], ["mutation", "Change"], ["subscription", "Watch"]];
  return h("div", { className: "examples" },
    h("h2", null, "Examples"),
    h("p", null, "One click opens a tab; ▶ or Ctrl-Enter runs it."),
    kinds.map(([kind, title]) => {
      const offered = examples.filter((each) => kindOf(each) === kind);
      return offered.length > 0 && h("section", { key: kind, className: kind },
        h("h3", null, title),
        h("ul", null, offered.map((each) => h("li", { key: each.name },
          h("button", { type: "button", onClick: () => load(each) }, each.title, h("span", null, each.name))))));
    }));
}

function ExamplesIcon() {
  return h("svg", { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", strokeWidth: 1.6, strokeLinecap: "round", strokeLinejoin: "round" },
    h("path", { d: "M4 6h.01M4 12h.01M4 18h.01M8.5 6H20M8.5 12H20M8.5 18H20" }));
}

function Bar({ people, token, setToken }) {
  const chosen = people.findIndex((each) => each.token === token);
  return h("header", { className: "bar" },
    h("a", { href: "/", title: "Back to the front page" }, h("img", { src: "/static/icon.svg", width: 22, height: 22, alt: "" }), "Deskwire"),
    !token && h("span", { className: "hint" }, "Without a token most operations are refused."),
    h("label", null, "Ask as",
      h("select", { value: chosen, onChange: (event) => setToken(people[event.target.value]?.token ?? "") },
        people.map((each, index) => h("option", { key: index, value: index }, `${each.name} · ${each.role}`)),
        h("option", { value: -1 }, token ? "another token" : "nobody"))),
    h("label", null, "Token",
      h("input", { value: token, onChange: (event) => setToken(event.target.value.trim()), spellCheck: false, autoComplete: "off", placeholder: "Bearer token" })));
}

function App({ config }) {
  const [token, setToken] = useState(() => initialToken(config.people));
  const fetcher = useMemo(() => createFetcher(config.endpoint, token), [token]);
  useEffect(() => () => fetcher.dispose(), [fetcher]);
  useEffect(() => sessionStorage.setItem(KEPT, token), [token]);
  const plugins = useMemo(() => [{ title: "Examples", icon: ExamplesIcon, content: () => h(Examples, config) }], []);
  useEffect(() => { welcome(config.examples[0]); }, []);
  return h(React.Fragment, null,
    h(Bar, { people: config.people, token, setToken }),
    h(GraphiQL, {
      fetcher,
      plugins,
      visiblePlugin: plugins[0],
      defaultQuery: "\n",
      defaultEditorToolsVisibility: "variables",
      shouldPersistHeaders: false,
      inputValueDeprecation: true,
    }));
}

async function start() {
  const config = await (await fetch("/graphiql/config.json")).json();
  ReactDOM.createRoot(document.getElementById("graphiql")).render(h(App, { config }));
}

start();
