// Live line plots in SVG, drawn by hand: the last two minutes, one point a second.

import { short } from "./parts.js";

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 38;
const BOTTOM = 20;
const TOP = 8;

function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const ROUND = [1, 1.6, 2, 3, 4, 5, 6, 8, 10];

/** Return a round number at or above `value`. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return ROUND.map((step) => step * power).find((step) => step >= value * 0.999);
}

/** Return the ends of the axis: 0 and a round number, or a little around the values where `fromZero` is false. */
function axis(values, fromZero) {
  const highest = Math.max(1e-3, ...values);
  if (fromZero || !values.length) return [0, roundUp(highest)];
  const lowest = Math.min(...values);
  const margin = Math.max((highest - lowest) * 0.1, highest * 0.01);
  return [lowest - margin, highest + margin];
}

/**
 * Make a plot inside `host`.
 *
 * `names` are two series at most, `unit` stands behind a value. Return `draw(rows, labels)`: `rows` are arrays of
 * numbers (or null where there is none), oldest first, one a series; `labels` give the text under the first and the last point.
 */
export function makePlot(host, names, unit, { fromZero = true } = {}) {
  let drawn = null;
  let pointed = null;
  const draw = (rows, labels) => {
    drawn = { rows, labels };
    const width = Math.max(220, host.clientWidth);
    const height = Math.max(80, host.clientHeight);
    const longest = Math.max(2, ...rows.map((row) => row.length));
    const [lowest, highest] = axis(rows.flat().filter(Number.isFinite), fromZero);
    const x = (place) => LEFT + (place / (longest - 1)) * (width - LEFT - 6);
    const y = (value) => TOP + ((highest - value) / (highest - lowest)) * (height - TOP - BOTTOM);
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": describe(names, rows, unit) });
    for (const value of [lowest, (lowest + highest) / 2, highest]) {
      svg.append(shape("line", { class: "grid", x1: LEFT, x2: width, y1: y(value), y2: y(value) }));
      svg.append(shape("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, short(value)));
    }
    svg.append(shape("text", { x: LEFT, y: height - 2 }, labels[0]), shape("text", { x: width - 6, y: height - 2, "text-anchor": "end" }, labels[1]));
    rows.forEach((row, series) => {
      const mark = "ab"[series];
      for (const run of runs(row, longest)) {
        const line = run.map(([place, value]) => `${x(place).toFixed(1)},${y(value).toFixed(1)}`).join("L");
        const [first, last] = [x(run[0][0]), x(run.at(-1)[0])];
        svg.append(shape("path", { class: `${mark} area`, d: `M${first},${y(lowest)}L${line}L${last},${y(lowest)}Z` }), shape("path", { class: `${mark} stroke`, d: `M${line}` }));
      }
    });
    if (pointed !== null) point(svg, rows, longest, pointed, { x, height, width, unit, names });
    host.replaceChildren(svg);
  };
  host.addEventListener("pointermove", (event) => {
    const box = host.getBoundingClientRect();
    pointed = Math.min(1, Math.max(0, (event.clientX - box.left - LEFT) / (box.width - LEFT - 6)));
    if (drawn) draw(drawn.rows, drawn.labels);
  });
  host.addEventListener("pointerleave", () => {
    pointed = null;
    if (drawn) draw(drawn.rows, drawn.labels);
  });
  return draw;
}

/** Cut a series into runs without gaps, as pairs of place and value; the last point always stands at the right. */
function runs(row, longest) {
  const found = [];
  let run = [];
  row.forEach((value, place) => {
    if (Number.isFinite(value)) return run.push([place + longest - row.length, value]);
    if (run.length) found.push(run);
    run = [];
    return undefined;
  });
  if (run.length) found.push(run);
  return found;
}

function point(svg, rows, longest, share, { x, height, width, unit, names }) {
  const place = Math.round(share * (longest - 1));
  svg.append(shape("line", { class: "hover", x1: x(place), x2: x(place), y1: TOP, y2: height - BOTTOM }));
  const text = rows
    .map((row, series) => [names[series], row[place - (longest - row.length)]])
    .filter(([, value]) => Number.isFinite(value))
    .map(([name, value]) => `${name} ${short(value)}${unit}`)
    .join("   ");
  const right = x(place) > width / 2;
  svg.append(shape("text", { x: x(place) + (right ? -8 : 8), y: TOP + 10, "text-anchor": right ? "end" : "start" }, text));
}

function describe(names, rows, unit) {
  const last = (row) => row.findLast(Number.isFinite);
  return names.map((name, series) => `${name}: ${short(last(rows[series] ?? []) ?? NaN)}${unit}`).join(", ");
}
