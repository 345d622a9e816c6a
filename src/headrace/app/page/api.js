// Talks to the service's JSON API: adds the key where one is asked for, and says when nobody answers.

const KEY = "headrace-key";
const watchers = new Set();

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the service answered ${status}`);
    this.status = status;
  }
}

/** The service did not answer at all. */
export class Gone extends Error {}

/** Call `watch(true)` when an answer arrives and `watch(false)` when none does. */
export function onReach(watch) {
  watchers.add(watch);
}

function tell(reached) {
  for (const watch of watchers) watch(reached);
}

async function once(method, path, body) {
  const headers = { Accept: "application/json" };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
  } catch (cause) {
    tell(false);
    throw new Gone("the service does not answer", { cause });
  }
}

let asking = null;

/** Ask for the key once, however many requests were refused. */
function askForKey() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("key-dialog");
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, document.getElementById("key").value);
      asking = null;
      resolve();
    }, { once: true });
    document.getElementById("key").value = "";
    dialog.showModal();
  });
  return asking;
}

/** Send one request; return `{ data, ms }`, where `ms` is the time from asking to the whole answer in this browser. */
export async function call(method, path, body) {
  for (;;) {
    const start = performance.now();
    const response = await once(method, path, body);
    if (response.status === 401) {
      await askForKey();
      continue;
    }
    const text = await response.text();
    const ms = performance.now() - start;
    tell(true);
    const data = text ? JSON.parse(text) : null;
    if (!response.ok) throw new Refused(response.status, data ?? {});
    return { data, ms };
  }
}

const part = encodeURIComponent;

export const status = async () => (await call("GET", "/v1/status")).data;
export const findItems = async (query, limit) => (await call("GET", `/v1/items?query=${part(query)}&limit=${limit}`)).data.items;
export const readUser = async (user, limit) => (await call("GET", `/v1/users/${part(user)}?limit=${limit}`)).data;
export const forgetUser = async (user) => (await call("DELETE", `/v1/users/${part(user)}`)).data;
export const recommend = (user, k) => call("GET", `/v1/users/${part(user)}/recommendations?k=${k}`);
export const sendEvent = (event) => call("POST", "/v1/events", event);

const known = new Map();

/** Return an item of the catalogue; one that is not in it has its id for a title. Kept for the life of the page. */
export function readItem(id) {
  if (!known.has(id)) {
    const asked = call("GET", `/v1/items/${part(id)}`)
      .then(({ data }) => data)
      .catch((error) => {
        known.delete(id);
        if (error instanceof Refused && error.status === 404) return { item_id: id };
        throw error;
      });
    known.set(id, asked);
  }
  return known.get(id);
}

/** Remember items that came with another answer. */
export function keepItems(items) {
  for (const item of items) known.set(item.item_id, Promise.resolve(item));
}
