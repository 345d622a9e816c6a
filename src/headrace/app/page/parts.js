// Small pieces that both tabs draw with: elements, numbers, times, the coloured square of an item.

/** Make an element; children are elements or text, which is never read as HTML. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const money = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const count = (value) => (Number.isFinite(value) ? whole.format(value) : "–");
export const price = (value) => (Number.isFinite(value) ? money.format(value) : "");

/** Write a number with two or three digits: 0.42, 3.1, 18.0, 240. */
export function short(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const digits = value < 1 ? 2 : value < 20 ? 1 : 0;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** Write a span of seconds in its largest unit. */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

/** Read a time of the API: ISO 8601, or a number of microseconds. */
export const readTime = (time) => new Date(typeof time === "number" ? time / 1000 : time);

export function ago(time) {
  const seconds = (Date.now() - readTime(time)) / 1000;
  return seconds < 5 ? "just now" : `${span(seconds)} ago`;
}

function hue(text) {
  let hash = 2166136261;
  for (const letter of text) hash = Math.imul(hash ^ letter.codePointAt(0), 16777619);
  return (hash >>> 8) % 360;
}

/** Draw an item's square: the colour is that of its narrowest category, the letters are those of its title. */
export function swatch(item) {
  const words = (item.title ?? item.item_id).match(/[\p{L}\p{N}]+/gu) ?? ["?"];
  const letters = words.length > 1 ? words[0][0] + words[1][0] : words[0].slice(0, 2);
  const square = make("span", { class: "swatch", "aria-hidden": "true" }, letters.toUpperCase());
  square.style.setProperty("--hue", hue(item.categories?.at(-1) ?? item.title ?? item.item_id));
  return square;
}

/** Fill a `<dl>` with pairs of a name and a value; a value may be an element. */
export function fillPairs(list, pairs) {
  list.replaceChildren(...pairs
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}
