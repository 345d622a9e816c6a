// The shop tab: who is shopping, a search, the list, and the history. A click is sent as an event; the list after it is asked for anew.

import { Gone, Refused, findItems, forgetUser, readItem, readUser, recommend, sendEvent } from "./api.js";
import { ago, count, make, price, short, swatch } from "./parts.js";

const K = 12;
const HISTORY = 30;
const REASONS = {
  next: "next for you",
  together: "goes with what you met",
  similar: "like what you met",
  again: "you buy this again",
  popular: "popular now",
  new: "new here",
};
const COOKIE = "headrace_visitor";
const ANOTHER = " another";
const TYPED = " typed";

const byId = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

let user = "";
let eventType = null;
let asked = 0;
let listed = [];
let knownUsers = [];

/** Start the tab; return `{ use(status), refresh() }`. */
export function startShop() {
  user = visitor();
  fillWho();
  startWho();
  startSearch();
  startForget();
  refresh();
  return { use, refresh };
}

function use(status) {
  byId("pill-text").textContent = status.model.protocol ? `Transformer · ${status.model.name}` : status.model.name;
  eventType = status.event_type ?? null;
  const users = status.example_users ?? [];
  if (users.length && !knownUsers.length) {
    knownUsers = users;
    fillWho();
  }
}

// Who

function visitor(another = false) {
  const found = document.cookie.split("; ").find((part) => part.startsWith(`${COOKIE}=`));
  if (found && !another) return found.slice(COOKIE.length + 1);
  const bytes = crypto.getRandomValues(new Uint8Array(4));
  const id = `visitor-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  document.cookie = `${COOKIE}=${id}; SameSite=Strict; Path=/; Max-Age=2592000`;
  return id;
}

function startWho() {
  byId("who").addEventListener("change", (event) => {
    const chosen = event.target.value;
    byId("other").hidden = chosen !== TYPED;
    if (chosen === TYPED) byId("other-id").focus();
    else open(chosen === ANOTHER ? visitor(true) : chosen);
  });
  byId("other").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = byId("other-id").value.trim();
    if (!id) return;
    byId("other-id").value = "";
    byId("other").hidden = true;
    open(id);
  });
}

const isVisitor = (id) => id.startsWith("visitor-");

function fillWho() {
  const mine = visitor();
  const option = (value, text) => make("option", { value, selected: value === user }, text);
  const others = user !== mine && !knownUsers.some((known) => known.user_id === user) ? [option(user, user)] : [];
  byId("who").replaceChildren(
    option(mine, `New visitor (${mine.slice(8)})`),
    option(ANOTHER, "Another new visitor"),
    option(TYPED, "A user id …"),
    ...others,
    ...(knownUsers.length
      ? [make("optgroup", { label: "Users of this shop" }, ...knownUsers.map((known) => option(known.user_id, `${known.user_id} · ${count(known.events)} events`)))]
      : []),
  );
}

function open(id) {
  user = id;
  listed = [];
  byId("cards").replaceChildren();
  fillWho();
  refresh();
}

/** Ask for the list and the history of the user again. */
async function refresh() {
  await attempt(async () => {
    await showList();
    await showHistory();
  });
}

/** Run `work`; say what the service refused. A service that does not answer is told of elsewhere. */
async function attempt(work) {
  try {
    await work();
  } catch (error) {
    if (error instanceof Refused) byId("list-note").textContent = `The service refused: ${error.message}`;
    else if (!(error instanceof Gone)) throw error;
  }
}

// The list

async function showList() {
  const ticket = ++asked;
  const asking = user;
  byId("cards").setAttribute("aria-busy", "true");
  const { data, ms } = await recommend(asking, K);
  const items = await Promise.all(data.items.map((row) => readItem(row.item_id)));
  if (ticket !== asked) return; // A later question is on its way: its list is the one to show.
  byId("list-title").textContent = isVisitor(asking) ? "For you, new visitor" : `For user ${asking}`;
  byId("list-note").textContent = items.length
    ? "Click an item. The next list already counts it."
    : "Nothing to show yet: this shop has no items or no events. Search an item and click it.";
  showFact("fact-latency", short(ms));
  showFact("fact-seen", count(data.events_seen));
  showFact("fact-model", data.model === "counts" ? "transition counts" : `Transformer ${data.model.split("-").at(-1)}`);
  byId("fact-model").title = data.model;
  showCards(data, items);
}

function showFact(id, text) {
  const fact = byId(id);
  if (fact.textContent === text) return;
  fact.textContent = text;
  fact.classList.remove("fresh");
  void fact.offsetWidth; // Reading a size makes the browser start the animation anew.
  fact.classList.add("fresh");
}

function showCards(data, items) {
  const cards = byId("cards");
  const before = new Map([...cards.children].map((card) => [card.dataset.id, card.getBoundingClientRect()]));
  const ranks = new Map(listed.map((id, place) => [id, place]));
  const focused = document.activeElement?.closest?.("#cards > li")?.dataset.id;
  cards.replaceChildren(...data.items.map((row, place) => makeCard(row, items[place], place, ranks, data.recommendation_id)));
  cards.setAttribute("aria-busy", "false");
  if (focused !== undefined) ([...cards.children].find((card) => card.dataset.id === focused) ?? cards.firstElementChild)?.firstElementChild.focus({ preventScroll: true });
  if (listed.length) {
    const fresh = data.items.filter((row) => !ranks.has(row.item_id)).length;
    byId("said").textContent = `The list changed: ${fresh} of ${data.items.length} items are new to it.`;
    if (!calm.matches) for (const card of cards.children) glide(card, before.get(card.dataset.id));
  }
  listed = data.items.map((row) => row.item_id);
}

function makeCard(row, item, place, ranks, answer) {
  const title = item.title ?? item.item_id;
  const was = ranks.get(row.item_id);
  const moved = !ranks.size || was === place ? "" : was === undefined ? "new" : was > place ? `▲ ${was - place}` : `▼ ${place - was}`;
  const button = make("button", { class: "card", type: "button" },
    swatch(item),
    make("span", { class: "rank" }, `#${place + 1}`, moved && make("span", { class: moved.startsWith("▼") ? "moved down" : "moved" }, moved)),
    make("span", { class: "price" }, price(item.price)),
    make("span", { class: "title" }, make("strong", { title }, title), make("small", {}, (item.categories ?? []).join(" · "))),
    make("span", { class: `reason ${row.reason}` }, REASONS[row.reason] ?? row.reason));
  button.addEventListener("click", () => meet(row.item_id, answer, button));
  return make("li", { "data-id": row.item_id, "data-reason": row.reason }, button);
}

/** Let a card move from where it was; one that was not there appears. */
function glide(card, from) {
  const to = card.getBoundingClientRect();
  const frames = from
    ? [{ transform: `translate(${from.left - to.left}px, ${from.top - to.top}px)` }, { transform: "none" }]
    : [{ opacity: 0, transform: "scale(0.92)" }, { opacity: 1, transform: "none" }];
  card.animate(frames, { duration: from ? 480 : 420, easing: "cubic-bezier(0.2, 0.8, 0.2, 1)", fill: "backwards", delay: from ? 0 : 120 });
}

/** Send a click on an item as an event, then ask for the list that counts it. */
async function meet(item, answer, button) {
  button?.classList.add("taken");
  await attempt(async () => {
    const event = { user_id: user, item_id: item, event_id: crypto.randomUUID?.() ?? `${user}-${Date.now()}-${Math.random()}`, context: { page: answer ? "list" : "search" } };
    if (eventType) event.type = eventType;
    if (answer) event.recommendation_id = answer;
    await sendEvent(event);
    await showList();
    await showHistory();
  });
  button?.classList.remove("taken");
}

// Search

function startSearch() {
  let waiting = 0;
  let latest = 0;
  const results = byId("results");
  const search = () => attempt(async () => {
    const query = byId("search").value.trim();
    const ticket = ++latest;
    if (!query) return results.replaceChildren();
    const items = await findItems(query, 8);
    if (ticket !== latest) return undefined;
    results.replaceChildren(...items.map((item) => make("li", {}, makeLine(item, make("span", { class: "price" }, price(item.price)), () => meet(item.item_id, null, null)))));
    if (!items.length) results.append(make("li", { class: "empty" }, `No item has “${query}” in it.`));
    return undefined;
  });
  byId("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, 140);
  });
}

function makeLine(item, end, onclick) {
  const text = make("span", {},
    make("strong", { title: item.title ?? item.item_id }, item.title ?? item.item_id),
    make("small", {}, (item.categories ?? []).join(" · ")));
  return onclick
    ? make("button", { class: "line", type: "button", onclick }, swatch(item), text, end)
    : make("div", { class: "line" }, swatch(item), text, end);
}

// History

async function showHistory() {
  const asking = user;
  const events = await readUser(asking, HISTORY).then((answer) => answer.events, (error) => {
    if (error instanceof Refused && error.status === 404) return [];
    throw error;
  });
  const recent = [...events].reverse();
  const items = await Promise.all(recent.map((event) => readItem(event.item_id)));
  if (asking !== user) return;
  byId("history-count").textContent = !events.length ? "" : events.length < HISTORY ? `${events.length} events` : `the last ${HISTORY}`;
  byId("history").replaceChildren(...recent.map((event, place) => make("li", {}, makeLine(items[place], make("time", { datetime: new Date(event.time / 1000).toISOString() }, ago(event.time)), null))));
  if (!events.length) byId("history").append(make("li", { class: "empty" }, "Nothing yet. This visitor is new."));
  byId("forget").hidden = !events.length;
}

function startForget() {
  const dialog = byId("forget-dialog");
  byId("forget").addEventListener("click", () => {
    byId("forget-id").textContent = user;
    dialog.returnValue = "no";
    dialog.showModal();
  });
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes") return;
    attempt(async () => {
      await forgetUser(user);
      byId("said").textContent = "Forgotten.";
      open(isVisitor(user) ? visitor(true) : user);
    });
  });
}
