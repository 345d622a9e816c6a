// The service tab: reads /v1/status each second and draws what it says. It keeps the last two minutes.

import { Gone, Refused, status as readStatus } from "./api.js";
import { count, fillPairs, make, short, span } from "./parts.js";
import { makePlot } from "./plot.js";

const SECONDS = 120;
const TITLES = { ndcg: "NDCG@10", recall: "Recall@10", mrr: "MRR@10", rmse: "RMSE" };
const METRICS = Object.keys(TITLES);
const byId = (id) => document.getElementById(id);

/** Start reading; `onStatus` gets each answer. Return `{ show(visible) }`. */
export function startService(onStatus) {
  const past = { events: [], answers: [], p50: [], p99: [] };
  const traffic = makePlot(byId("traffic"), ["events", "answers"], "/s");
  const latency = makePlot(byId("latency"), ["p50", "p99"], " ms");
  const loss = makePlot(byId("training-plot"), ["loss"], "", { fromZero: false });
  let visible = false;
  let latest = null;

  const draw = () => {
    if (!visible || !latest) return;
    const labels = [span(SECONDS) + " ago", "now"];
    showTiles(latest);
    showModel(latest.model);
    showStore(latest);
    traffic([padded(past.events), padded(past.answers)], labels);
    latency([padded(past.p50), padded(past.p99)], labels);
    legend("traffic-legend", [["events", `${short(latest.events_per_second)}/s`], ["answers", `${short(latest.answers_per_second)}/s`]]);
    legend("latency-legend", [["p50", `${short(latest.latency_ms?.p50 ?? NaN)} ms`], ["p99", `${short(latest.latency_ms?.p99 ?? NaN)} ms`]]);
    showTraining(latest.training, loss);
  };

  const tick = async () => {
    try {
      latest = await readStatus();
      for (const [row, value] of [
        [past.events, latest.events_per_second],
        [past.answers, latest.answers_per_second],
        [past.p50, latest.latency_ms?.p50 ?? null],
        [past.p99, latest.latency_ms?.p99 ?? null],
      ]) {
        row.push(value);
        if (row.length > SECONDS) row.shift();
      }
      onStatus(latest);
      draw();
    } catch (error) {
      if (!(error instanceof Gone || error instanceof Refused)) throw error;
    } finally {
      setTimeout(tick, 1000);
    }
  };
  tick();
  addEventListener("resize", draw);
  return {
    show(on) {
      visible = on;
      draw();
    },
  };
}

const padded = (row) => [...Array(Math.max(0, SECONDS - row.length)).fill(null), ...row];

function legend(id, entries) {
  byId(id).replaceChildren(...entries.map(([name, value], series) => make("span", {}, make("i", { class: "ab"[series] }), `${name} ${value}`)));
}

function showTiles(status) {
  const tile = (name, value, unit) => make("div", {}, make("dt", {}, name), make("dd", {}, value, unit ? make("small", {}, unit) : null));
  byId("tiles").replaceChildren(
    tile("Events", short(status.events_per_second), "a second"),
    tile("Answers", short(status.answers_per_second), "a second"),
    tile("Latency, half within", short(status.latency_ms?.p50 ?? NaN), "ms"),
    tile("99 % within", short(status.latency_ms?.p99 ?? NaN), "ms"),
    tile("Events in the store", count(status.events)),
    tile("Users", count(status.users)),
  );
}

function showModel(model) {
  fillPairs(byId("model"), [
    ["Name", model.name],
    ["Version", model.version],
    ["Protocol", model.protocol],
    ["Trained on", model.events ? `${count(model.events)} events` : ""],
    ["Made", model.created ? new Date(model.created).toLocaleString() : ""],
  ]);
  const metrics = model.metrics ?? [];
  byId("metrics").replaceChildren(...(metrics.length ? [metricsTable(metrics)] : [make("p", { class: "empty" }, "No metrics: no Transformer is loaded, so transition counts answer.")]));
}

/** Show the figures at 10 over all users, of one protocol: the live one where there are several. */
function metricsTable(metrics) {
  const whole = metrics.filter((row) => (row.slice ?? "all") === "all" && METRICS.includes(row.metric) && (row.k ?? 10) === 10);
  const protocol = whole.find((row) => row.protocol === "time-live")?.protocol ?? whole[0]?.protocol;
  const rows = whole.filter((row) => row.protocol === protocol);
  const names = METRICS.filter((name) => rows.some((row) => row.metric === name));
  const cell = (method, metric) => rows.find((row) => row.method === method && row.metric === metric)?.value;
  const methods = [...new Set(rows.map((row) => row.method))].sort((one, other) => (cell(other, names[0]) ?? 0) - (cell(one, names[0]) ?? 0));
  return make("table", {},
    make("caption", {}, protocol ? `Full catalogue, on events that it had not learned from (${protocol})` : "Full catalogue, on the events between the cuts, where its steps and weights were chosen"),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Method"), ...names.map((name) => make("th", { scope: "col" }, TITLES[name])))),
    make("tbody", {}, ...methods.map((method) => make("tr", { class: method === "headrace" ? "own" : "" },
      make("td", {}, method), ...names.map((name) => make("td", {}, cell(method, name)?.toFixed(4) ?? "–"))))));
}

function showStore(status) {
  fillPairs(byId("store"), [
    ["Events", count(status.events)],
    ["Items", count(status.items)],
    ["Users", count(status.users)],
    ["Running for", span(status.uptime_s)],
    ["Headrace", status.version],
  ]);
}

function showTraining(training, plot) {
  byId("training-panel").hidden = !training;
  if (!training) return;
  byId("training-stage").textContent = training.stage;
  byId("training-bar").value = training.share;
  fillPairs(byId("training"), [
    ["Step", training.steps ? `${count(training.step)} of ${count(training.steps)}` : ""],
    ["Loss", training.loss?.toFixed(3)],
    ["NDCG@10 so far", training.metric?.toFixed(4)],
    ["Events a second", training.events_per_second ? count(training.events_per_second) : ""],
    ["Time left", Number.isFinite(training.seconds_left) ? span(training.seconds_left) : ""],
  ]);
  const losses = training.losses ?? [];
  byId("training-plot").hidden = losses.length < 2;
  if (losses.length >= 2) plot([losses], ["start", "now"]);
}
