// What is on the page. Nothing here asks for anything; all text is set as text.

import { bin, bins, bytes, clock, count, span, things, took, words } from "./format.js";

const $ = (id) => document.getElementById(id);

// put sets a text, if it is another: what has not changed is not touched.
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(name, text, className) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  if (className) e.className = className;
  return e;
}

function makeSVG(name, attributes) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  return e;
}

// How each total is written; others are counts.
const written = {
  openBytes: (n) => `${bytes(n)} being written`,
  pendingBytes: bytes,
  pendingKeyBytes: bytes,
  pendingDirectoryBytes: bytes,
  heldBytes: bytes,
  expiredBytes: bytes,
  unfinishedScans: (n) => `${things(n, "scan")} not at the end`,
  heldNames: (n) => `${things(n, "name")} that only they have`,
};

/** Shows who has signed in; nobody: nothing. */
export function showWho(who) {
  put($("who"), who ? `Signed in as ${who.user || "nobody"} (${words(who.role)})` : "");
  $("who").title = who?.accessKey ? `with the access key ${who.accessKey}` : "";
  $("sync").hidden = !who?.mayTrigger;
}

/** Shows what there is of everything. */
export function showTotals(totals) {
  for (const e of document.querySelectorAll("[data-total]")) {
    const name = e.dataset.total, n = totals[name];
    put(e, (written[name] ?? count)(n));
    if (e.dataset.value !== String(n)) e.dataset.value = n;
    if (/Bytes$/.test(name)) e.title = `${count(n)} bytes`;
  }
}

/** Shows how Recon follows the OM. */
export function showSync(sync) {
  const fresh = {
    state: words(sync.state),
    index: sync.reflectedIndex > 0 ? `${count(sync.reflectedIndex)} of ${count(Math.max(sync.commitIndex, sync.reflectedIndex))}` : "none yet",
    lag: count(sync.lag),
    source: sync.source || "–",
    lastSync: sync.lastSync ? done(sync.lastSync) : "none since the start",
    building: sync.building ? making(sync.building) : "nothing",
  };
  for (const [name, text] of Object.entries(fresh)) put(document.querySelector(`[data-fresh="${name}"]`), text);
  const progress = $("progress"), b = sync.building;
  progress.hidden = !b;
  if (b && b.total > 0) {
    progress.max = b.total;
    progress.value = Math.min(b.done, b.total);
  } else {
    progress.removeAttribute("value");
  }
}

function done(last) {
  const how = last.error ? `failed: ${last.error}` : `took ${took(last.tookMs)}`;
  return `${clock(last.finished)}, ${words(last.reason)}${last.detail ? ` (${last.detail})` : ""}; ${how}`;
}

function making(b) {
  const write = b.phase === "IMAGE" ? bytes : count;
  const far = b.total > 0 ? `${write(b.done)} of ${write(b.total)}` : write(b.done);
  return `${words(b.phase)}, ${far}; since ${clock(b.since)}; ${words(b.reason)}${b.detail ? ` (${b.detail})` : ""}`;
}

/** Shows of when the numbers are; at: milliseconds since 1970, or nothing. */
export function showAge(at, now) {
  const age = at === undefined ? "–" : span(now - at);
  put($("asof"), at === undefined ? "Nothing was answered yet." : `As of ${clock(at)}, ${age} ago.`);
  put(document.querySelector('[data-fresh="age"]'), age);
}

/** Shows how many files there are of each size. */
export function showSizes({ sums, part }) {
  const sizes = [...sums.keys()];
  const most = Math.max(...sums.values());
  $("sizes").hidden = sizes.length === 0;
  $("sizes-none").hidden = sizes.length > 0;
  put($("sizes-none"), "There are no files.");
  $("sizes-part").hidden = !part;
  put($("sizes-part"), "There are very many buckets: these are the files of the first ones.");
  const rows = sizes.length === 0 ? [] : bins(Math.min(...sizes), Math.max(...sizes)).map((size) => {
    const n = sums.get(size) ?? 0, row = make("tr");
    const name = make("th", bin(size));
    name.scope = "row";
    const bar = makeSVG("svg", { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
    bar.append(makeSVG("rect", { width: n === 0 ? 0 : Math.max(0.5, 100 * n / most), height: 10, rx: 1 }));
    const cell = make("td");
    cell.append(bar);
    row.append(name, cell, make("td", count(n), "number"));
    return row;
  });
  $("sizes").tBodies[0].replaceChildren(...rows);
}

/** Shows how the tasks are. */
export function showTasks(tasks) {
  $("tasks").hidden = tasks.length === 0;
  $("tasks-none").hidden = tasks.length > 0;
  put($("tasks-none"), "There are no tasks yet.");
  $("tasks").tBodies[0].replaceChildren(...tasks.map((t) => {
    const row = make("tr"), name = make("th");
    for (const word of t.taskName.split(/(?=[A-Z][a-z])/)) name.append(make("wbr"), word); // where a narrow page may break it
    name.scope = "row";
    const failed = t.lastTaskRunStatus < 0;
    const state = make("td", failed ? "failed" : t.isCurrentTaskRunning ? "running" : "well", failed ? "failed" : "");
    row.append(name, state, make("td", count(t.lastUpdatedSeqNumber), "number"), make("td", t.lastUpdatedTimestamp > 0 ? clock(t.lastUpdatedTimestamp) : "–"));
    return row;
  }));
}

/** Says why a part of the page is not as new as it should be; "": it is. */
export function showProblem(part, text) {
  const e = $(`problem-${part}`);
  e.hidden = text === "";
  put(e, text);
}

/**
 * Shows banners: {kind: "bad" | "warn" | "note", title, text, button, act}. Those
 * that are there already stay, so that they are read out once.
 */
export function showBanners(list) {
  const key = JSON.stringify(list.map(({ kind, title, text, button }) => [kind, title, text, button]));
  const box = $("banners");
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  box.replaceChildren(...list.map((b) => {
    const p = make("p", undefined, `banner ${b.kind}`);
    p.append(make("strong", b.title + "."), " ", b.text);
    if (b.button) {
      const button = make("button", b.button);
      button.type = "button";
      button.addEventListener("click", b.act);
      p.append(button);
    }
    return p;
  }));
}

/** Shows what came of telling Recon to do something. */
export function showResult(text, good) {
  const e = $("sync-result");
  e.classList.toggle("bad", !good);
  put(e, text);
}
