"use strict";
/* The live page. The monitor sends sections that changed; each is shown by one function. All text goes through
   textContent, so nothing that came over the wire is ever markup. */

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const stats = (window.hocketStats = { updates: 0, lastMs: 0, maxMs: 0 });

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}
function svg(tag, attributes = {}, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

const count = (n) => (n === null || n === undefined ? "–" : n < 10000 ? String(n) : n < 1e6 ? `${(n / 1e3).toFixed(1)}k` : `${(n / 1e6).toFixed(1)}M`);
function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return "0 s";
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 100) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
function usd(amount) {
  if (amount === null || amount === undefined) return "unknown";
  return amount === 0 ? "$0" : amount < 0.01 ? `$${amount.toFixed(4)}` : `$${amount.toFixed(2)}`;
}
const clock = (millis) => new Date(millis).toLocaleTimeString("en-GB");
const WORDS = { assigned: "running", pending: "waits", alive: "alive", ok: "ok" };
const tag = (state, text) => el("span", { class: `tag ${state}` }, text || WORDS[state] || state);

/* Rows by key: what did not change is not touched, so focus, selection and scrolling stay where they are. */
function sync(parent, items, key, build) {
  const known = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  let before = parent.firstElementChild;
  for (const item of items) {
    const id = String(key(item));
    const print = JSON.stringify(item);
    let node = known.get(id);
    known.delete(id);
    if (!node || node.dataset.print !== print) {
      const fresh = build(item);
      fresh.dataset.key = id;
      fresh.dataset.print = print;
      if (node) {
        const held = node.contains(document.activeElement);
        if (node === before) before = fresh;
        node.replaceWith(fresh);
        if (held) (fresh.querySelector("button") || fresh).focus({ preventScroll: true });
      }
      node = fresh;
    }
    if (node === before) before = before.nextElementSibling;
    else parent.insertBefore(node, before);
  }
  for (const node of known.values()) node.remove();
}
function list(name, items, key, build) {
  sync($(name), items, key, build);
  const none = $(`${name}-none`);
  if (none) none.hidden = items.length > 0;
}

const show = {
  summary(s) {
    const tiles = [
      ["In progress", count(s.open)],
      ["Answers a minute", count(s.answers_per_minute), s.failed_per_minute ? `${s.failed_per_minute} not completed` : ""],
      ["Answer time p50", time(s.p50)],
      ["Answer time p95", time(s.p95)],
      ["Tasks waiting", count(s.net)],
      ["Workers alive", count(s.workers), "", s.workers === 0],
      ["Tokens, last minute", count(s.tokens_per_minute)],
      ["Cost, last minute", usd(s.usd_per_minute)],
      ["Dead letters", count(s.dead), "", s.dead > 0],
    ];
    sync($("tiles"), tiles, (t) => t[0], (t) =>
      el("div", { class: t[3] ? "bad" : null }, el("dt", {}, t[0]), el("dd", {}, t[1], t[2] ? el("small", {}, ` ${t[2]}`) : null)));
    $("open-count").textContent = s.open ? `${count(s.open)}, the newest first` : "";
    $("problem").hidden = !s.problem;
    if ($("problem").textContent !== (s.problem || "")) $("problem").textContent = s.problem || "";
  },
  flow(f) {
    state.flow = f;
    drawFlow();
  },
  specialties(rows) {
    state.specialties = rows;
    drawFlow();
    sync($("specialties"), rows, (r) => r.specialty, (r) =>
      el("tr", {},
        el("th", { scope: "row" }, r.specialty),
        el("td", {}, tag(r.status), r.limited ? tag("limited", "rate limit") : null),
        el("td", { class: "n" }, count(r.net)), el("td", { class: "n faint" }, count(r.lag)),
        el("td", { class: "n" }, r.net ? time(r.age_ms === null ? null : r.age_ms / 1000) : "–"),
        el("td", { class: "n" }, r.net ? time(r.drain_s) : "–"),
        el("td", { class: "n", title: r.reason || "" }, `${r.workers}${r.desired === null ? "" : ` of ${r.desired}`}`),
        el("td", { class: "n" }, count(r.in_flight)),
        el("td", { class: "n" }, time(r.p50)), el("td", { class: "n" }, time(r.p95))));
  },
  workers(rows) {
    $("worker-count").textContent = rows.length ? `${rows.length}` : "none";
    sync($("workers"), rows, (w) => w.worker + w.service, (w) =>
      el("tr", {},
        el("th", { scope: "row" }, w.service, el("br"), el("span", { class: "faint mono" }, w.worker)),
        el("td", {}, tag(w.verdict, w.verdict === "alive" ? (w.state === "running" ? "alive" : w.state) : `${w.verdict} ${w.age_s} s`),
          w.limited ? tag("limited", "rate limit") : null),
        el("td", { class: "n" }, w.concurrency ? `${w.in_flight}/${w.concurrency}` : count(w.in_flight)),
        el("td", { class: "n" }, count(w.queued)), el("td", { class: "n" }, count(w.completed)),
        el("td", { class: "n" }, count(w.failed)),
        el("td", { class: "wrap faint", title: w.partitions.join(" ") }, parts(w.partitions) + (w.paused ? `, ${w.paused} paused` : ""))));
  },
  asked(rows) { list("open", rows, (r) => r.id, openRow); mark(); },
  answered(rows) { list("answered", rows, (r) => r.id, answeredRow); mark(); },
  latencies(rows) {
    list("latencies", rows, (r) => `${r.specialty} ${r.engine}`, (r) =>
      el("tr", {}, el("th", { scope: "row" }, r.specialty), el("td", { class: "mono" }, r.engine), el("td", { class: "n" }, count(r.tasks)),
        ...[r.p50, r.p95, r.p99].map((t) => el("td", { class: "n" }, time(t)))));
  },
  cost: drawCost,
  dead(rows) { list("dead", rows, (d) => d.id + d.topic, deadRow); },
  request(found) {
    if (found) showRequest(found);
    else if (state.chosen) fetchRequest(state.chosen);
  },
};

const state = { flow: null, specialties: [], chosen: "", source: null };

/* tasks-research/0 tasks-research/1 -> tasks-research 0-1 */
function parts(places) {
  const topics = new Map();
  for (const place of places) {
    const cut = place.lastIndexOf("/");
    const topic = place.slice(0, cut);
    topics.set(topic, [...(topics.get(topic) || []), Number(place.slice(cut + 1))]);
  }
  if (topics.size > 2) return `${places.length} of ${topics.size} topics`;
  return [...topics].map(([topic, numbers]) => `${topic} ${ranges(numbers.sort((a, b) => a - b))}`).join(", ") || "none";
}
function ranges(numbers) {
  const found = [];
  for (const n of numbers) {
    const last = found[found.length - 1];
    if (last && n === last[1] + 1) last[1] = n;
    else found.push([n, n]);
  }
  return found.map(([a, b]) => (a === b ? `${a}` : `${a}–${b}`)).join(" ");
}

function openRow(r) {
  const steps = r.steps.map(([id, , st]) => tag(st, id));
  if (r.more) steps.push(el("span", { class: "faint" }, `and ${r.more} more`));
  return el("li", {}, chooser(r.id,
    el("div", { class: "top" }, el("span", { class: "id mono" }, r.id), el("time", { class: "faint" }, clock(r.at))),
    el("div", { class: "steps" }, ...(steps.length ? steps : [tag("pending", "planning")])),
    r.text ? el("p", { class: "said tail" }, el("bdi", {}, r.text)) : null));
}
function answeredRow(r) {
  return el("li", {}, chooser(r.id,
    el("div", { class: "top" }, tag(r.status), el("span", { class: "id mono" }, r.id),
      el("span", { class: "faint" }, `${time(r.seconds)}, ${r.tasks} tasks, ${usd(r.cost_usd)}`), el("time", { class: "faint" }, clock(r.answered_at)))));
}
function deadRow(d) {
  return el("li", { tabindex: "-1" }, el("div", { class: "row" },
    el("div", { class: "top" }, tag("failed", d.kind), el("span", { class: "id mono" }, d.key || "without a key"),
      el("span", { class: "faint mono", title: `hocket dlq show ${d.id}` }, d.id), el("time", { class: "faint" }, clock(d.at))),
    el("p", { class: "said" }, `${d.topic}/${d.partition} at ${d.offset}, by ${d.service}: ${d.reason}`),
    d.again ? el("p", { class: "said" }, tag("ok", "sent again"), ` as ${d.again}`) : null,
    d.replay ? replayBox(d) : null));
}
/* Asks before it writes. What came of it is told above the list, where a screen reader hears it. */
function replayBox(d) {
  const box = el("div", { class: "acts", tabindex: "-1" });
  const offer = (...children) => box.replaceChildren(...children);
  const act = (text, label, then) => {
    const button = el("button", { type: "button", "aria-label": label }, text);
    return button.addEventListener("click", then), button;
  };
  const start = () => act("Send again", `Send dead letter ${d.id} again to ${d.topic}`, () => ask(`Write it to ${d.topic} again, byte for byte?`, false));
  const back = () => { offer(start()); box.firstChild.focus(); };
  const ask = (question, again) => {
    const yes = act(again ? "Send once more" : "Send", `${question} Send dead letter ${d.id}`, () => send(again));
    offer(el("span", {}, question), yes, act("Cancel", `Do not send dead letter ${d.id}`, back));
    yes.focus();
  };
  const send = async (again) => {
    offer(el("span", {}, "Sending ..."));
    box.focus(); /* so that sync gives it to the new row, if one comes first */
    const reply = await replay(d.id, again);
    $("dead-said").textContent = reply.said || `Not sent: ${reply.error}`;
    if (reply.again) ask("Send it once more all the same?", true);
    else if (box.isConnected) back();
  };
  return offer(start()), box;
}
async function replay(id, again) {
  try {
    const path = `/api/dead-letters/${id}/replay${again ? "?again=1" : ""}`;
    return await (await fetch(path, { method: "POST", headers: { "X-Hocket-Replay": "1" } })).json();
  } catch {
    return { error: "the monitor did not answer; whether it was sent, the next try will tell before it sends anything" };
  }
}
function chooser(id, ...children) {
  const button = el("button", { class: "row", type: "button", "aria-current": String(id === state.chosen) }, ...children);
  button.dataset.id = id;
  button.addEventListener("click", () => choose(id));
  return button;
}
function mark() {
  for (const b of document.querySelectorAll("button.row")) b.setAttribute("aria-current", String(b.dataset.id === state.chosen));
}

function choose(id) {
  state.chosen = id;
  history.replaceState(null, "", id ? `#${encodeURIComponent(id)}` : "#");
  mark();
  $("request").replaceChildren(el("p", { class: "none" }, `Looking for ${id} ...`));
  connect();
  if (window.innerWidth < 1100) $("detail").scrollIntoView({ block: "start" });
  $("detail").focus({ preventScroll: true });
}
async function fetchRequest(id) {
  const reply = await fetch(`/api/requests/${encodeURIComponent(id)}`);
  const found = await reply.json();
  if (id !== state.chosen) return;
  if (reply.ok) showRequest(found);
  else $("request").replaceChildren(el("p", { class: "none" }, found.error));
}

function showRequest(r) {
  const now = r.status === "in progress" ? Math.max(r.last_at, Date.now()) : r.last_at;
  const facts = [["", tag(r.status === "in progress" ? "assigned" : r.status, r.status)], ["took", time(Math.max(0, now - r.first_at) / 1000)]];
  if (r.cost_usd !== undefined) {
    facts.push(["cost", usd(r.cost_usd)], ["model calls", r.calls], ["tokens", `${count(r.tokens[0])} in, ${count(r.tokens[1])} out`]);
    facts.push(["plan by", r.workflow ? `${r.source} (${r.workflow})` : r.source]);
  }
  const box = $("request");
  const kept = box.querySelector(".content")?.scrollTop;
  box.replaceChildren(
    el("p", { class: "id mono" }, r.id),
    el("div", { class: "facts" }, ...facts.map(([name, value]) => el("span", {}, name ? `${name} ` : "", value instanceof Node ? value : el("b", {}, String(value))))),
    el("ol", { class: "tasks", "aria-label": "Tasks in order, with their times" }, ...r.tasks.map((t) => taskRow(t, r, now))),
    ...(r.error ? [el("p", { class: "said" }, r.error)] : []),
    ...(r.left_out || []).map(([what, why]) => el("p", { class: "none" }, `left out: ${what}: ${why}`)),
    ...(r.lost_runs ? [el("p", { class: "none" }, `runs lost with their workers: ${r.lost_runs}; what they called may be billed and is not in the cost`)] : []),
    ...(r.content ? [el("div", { class: "content", tabindex: "0", "aria-label": "Answer" }, r.content)] : []));
  if (kept) box.querySelector(".content").scrollTop = kept;
}
function taskRow(t, r, now) {
  const ended = t.ended_at || (t.state === "assigned" ? now : null);
  const bar = el("div", { class: `bar ${t.state}`, "aria-hidden": "true" }, el("i"));
  const span = Math.max(1, now - r.first_at);
  const fill = bar.firstChild;
  if (t.started_at && ended) {
    fill.style.left = `${Math.min(99, Math.max(0, (100 * (t.started_at - r.first_at)) / span))}%`;
    fill.style.width = `${Math.max(0.6, (100 * (ended - t.started_at)) / span)}%`;
  } else fill.hidden = true;
  const facts = [t.specialty, t.engine, t.started_at && ended ? time(Math.max(0, ended - t.started_at) / 1000) : null,
    t.cost_usd ? usd(t.cost_usd) : null, (r.critical_path || []).includes(t.id) ? "critical path" : null,
    t.also_after.length ? `also after ${t.also_after.join(", ")}` : null, t.worker];
  const row = el("li", { class: "task" },
    el("div", { class: "head" }, tag(t.state), el("strong", {}, t.id), el("span", { class: "faint" }, facts.filter(Boolean).join(" · "))), bar,
    t.note ? el("p", { class: "said" }, t.note) : null,
    t.text && t.state === "assigned" ? el("p", { class: "said" }, t.text) : null);
  row.style.paddingLeft = `${Math.min(t.level, 6) * 1.1}rem`;
  return row;
}

/* The flow: clients, the aggregator in the middle, planner and specialties around it. Built once for a width and a set of
   specialties; afterwards only texts and classes change. */
const picture = { key: "", set: null };
function drawFlow() {
  if (!state.flow) return;
  const wide = $("flow").clientWidth >= 520;
  const rows = [...state.specialties].sort((a, b) => (b.specialty === "planning") - (a.specialty === "planning"));
  const key = `${wide} ${rows.map((r) => r.specialty).join(" ")}`;
  if (key !== picture.key) {
    picture.key = key;
    picture.set = build(wide, rows);
  }
  picture.set(state.flow, rows);
}
function build(wide, rows) {
  const g = wide ? { w: 690, ax: 205, aw: 120, sx: 422, sw: 262, top: 14, step: 33 } : { w: 350, ax: 16, aw: 130, sx: 100, sw: 246, top: 150, step: 38 };
  const h = g.top + Math.max(3, rows.length) * g.step + 8;
  const root = svg("svg", { viewBox: `0 0 ${g.w} ${h}`, role: "img", "aria-labelledby": "flow-title" });
  root.append(svg("title", { id: "flow-title" }, "Records a minute from clients over the aggregator to planner and specialties, and back"));
  const mid = wide ? g.top + (rows.length * g.step) / 2 : 110;
  const node = (x, y, w, text) => {
    root.append(svg("rect", { class: "box", x, y: y - 20, width: w, height: 40, rx: 9 }), svg("text", { class: "strong", x: x + w / 2, y: y + 5, "text-anchor": "middle" }, text));
  };
  const edge = (d, back) => root.appendChild(svg("path", { class: back ? "edge back" : "edge", d }));
  const label = (x, y, anchor = "middle") => root.appendChild(svg("text", { class: "dim", x, y, "text-anchor": anchor }));
  const ends = wide
    ? { in: edge(`M92 ${mid - 9} H${g.ax}`), out: edge(`M92 ${mid + 9} H${g.ax}`, true), inText: label(148, mid - 17), outText: label(148, mid + 26) }
    : { in: edge("M74 50 V90"), out: edge("M88 50 V90", true), inText: label(102, 66, "start"), outText: label(102, 84, "start") };
  const lanes = rows.map((r, i) => {
    const y = g.top + i * g.step + g.step / 2;
    const from = wide ? g.ax + g.aw : 81;
    const curve = (o) => (wide ? `M${from} ${mid + o} C${from + 50} ${mid + o} ${g.sx - 50} ${y + o} ${g.sx} ${y + o}` : `M${from + o * 2} 130 V${y + o - 8} Q${from + o * 2} ${y + o} ${from + o * 2 + 8} ${y + o} H${g.sx}`);
    const lane = { there: edge(curve(-3)), back: edge(curve(3), true) };
    lane.box = root.appendChild(svg("rect", { class: "box", x: g.sx, y: y - 13, width: g.sw, height: 26, rx: 7 }));
    lane.load = root.appendChild(svg("rect", { class: "load", x: g.sx, y: y - 13, width: 0, height: 26, rx: 7 }));
    root.append(svg("text", { x: g.sx + 9, y: y + 4.5 }, r.specialty === "planning" ? "planner" : r.specialty));
    lane.waits = label(g.sx + g.sw - (wide ? 88 : 78), y + 4.5, "end");
    lane.rate = label(g.sx + g.sw - 9, y + 4.5, "end");
    return lane;
  });
  node(wide ? 6 : 26, wide ? mid : 30, wide ? 86 : 110, "clients");
  node(g.ax, mid, g.aw, "aggregator");
  $("flow").replaceChildren(root);
  const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const busy = (path, n) => { path.classList.toggle("busy", n > 0); path.style.strokeWidth = n > 0 ? Math.min(5, 1.6 + Math.log10(1 + n)) : ""; };
  return (f, now) => {
    put(ends.inText, `${count(f.requests)} requests`);
    put(ends.outText, `${count(f.answers)} answers`);
    busy(ends.in, f.requests);
    busy(ends.out, f.answers);
    const most = Math.max(20, ...now.map((r) => r.net));
    now.forEach((r, i) => {
      const lane = lanes[i];
      const back = r.specialty === "planning" ? f.plans : r.results_per_minute;
      busy(lane.there, r.tasks_per_minute);
      busy(lane.back, back);
      put(lane.waits, r.net ? `${count(r.net)} wait` : "");
      put(lane.rate, `→ ${count(r.tasks_per_minute)}  ← ${count(back)}`);
      lane.box.setAttribute("class", `box ${r.status}`);
      lane.load.setAttribute("width", String((g.sw * r.net) / most));
    });
  };
}

function drawCost(minutes) {
  const w = 600, h = 100, base = 98;
  const root = svg("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-labelledby": "cost-title" });
  const most = Math.max(1, ...minutes.map((m) => m[0]));
  const dear = Math.max(1e-9, ...minutes.map((m) => m[1]));
  const sum = (i) => minutes.reduce((all, m) => all + m[i], 0);
  root.append(svg("title", { id: "cost-title" }, `Last hour: ${count(sum(0))} tokens, ${usd(sum(1))}, ${count(sum(2))} answers`));
  root.append(svg("line", { class: "axis", x1: 0, x2: w, y1: base, y2: base }));
  minutes.forEach((m, i) => root.append(svg("rect", { class: "tokens", x: i * 10 + 1.5, width: 7, rx: 1.5, y: base - (90 * m[0]) / most, height: (90 * m[0]) / most })));
  root.append(svg("polyline", { class: "usd", points: minutes.map((m, i) => `${i * 10 + 5},${base - (90 * m[1]) / dear}`).join(" ") }));
  $("cost").replaceChildren(
    el("p", { class: "above" }, `${count(sum(0))} tokens, ${usd(sum(1))}, ${count(sum(2))} answers in the last hour`), root,
    el("p", { class: "under" }, el("span", {}, "60 min ago"), el("span", {}, "bars: tokens · line: dollars"), el("span", {}, "now")));
}

function connect() {
  state.source?.close();
  const source = (state.source = new EventSource(`/api/events${state.chosen ? `?request=${encodeURIComponent(state.chosen)}` : ""}`));
  source.onopen = () => link("live", "live");
  source.onerror = () => {
    link("lost", "connection lost, trying again");
    if (source.readyState === EventSource.CLOSED) setTimeout(() => source === state.source && connect(), 2000);
  };
  for (const [name, render] of Object.entries(show)) {
    source.addEventListener(name, (event) => {
      const began = performance.now();
      render(JSON.parse(event.data));
      stats.updates += 1;
      stats.lastMs = performance.now() - began;
      stats.maxMs = Math.max(stats.maxMs, stats.lastMs);
    });
  }
}
function link(name, text) {
  const box = $("link");
  if (box.dataset.state === name) return;
  box.dataset.state = name;
  box.textContent = text;
}

const root = document.documentElement;
const wished = window.matchMedia("(prefers-color-scheme: dark)");
const theme = () => { root.dataset.theme = localStorage.getItem("hocket-theme") || (wished.matches ? "dark" : "light"); };
wished.addEventListener("change", theme);
theme();
$("theme").addEventListener("click", () => {
  localStorage.setItem("hocket-theme", root.dataset.theme === "dark" ? "light" : "dark");
  theme();
});
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = $("wanted").value.trim();
  if (id) choose(id);
});
window.addEventListener("resize", drawFlow);
state.chosen = decodeURIComponent(location.hash.slice(1));
connect();
