// The overview: asks every few seconds and keeps what was answered last, with
// its age, whatever happens.

import { Failure, ask, fileCounts, totals } from "./api.js";
import { showAge, showBanners, showProblem, showResult, showSizes, showSync, showTasks, showTotals, showWho } from "./view.js";
import { clock, span, took, words } from "./format.js";

const every = 3000;      // between two rounds, in milliseconds
const rest = 10;         // the distribution of sizes takes at most one part in so many of the time
const old = 30_000;      // an age that is worth a banner, in milliseconds
const jitter = 1500;     // by which a point in time may differ from round to round, in milliseconds
const oldRounds = 2;     // when it is seen in so many rounds: a quiet OM makes one entry old

// What is known, and how it came to be.
const known = {
  who: undefined,        // who has signed in, and what they may
  sync: undefined,       // the last answer of /sync/status
  asOf: undefined,       // of when the totals are, in milliseconds since 1970
  index: "",             // of which generation and entry the totals are
  sizesIndex: "",
  sizesNext: 0,          // when the distribution may be asked for again
  failure: undefined,    // why /sync/status was not answered
  parts: {},             // why parts were not, by part
  oldFor: 0,             // rounds in which the answers were old
};

// The full sync that was started from here: what was counted before. None: nothing
// is to be told of it any more.
let started;

let paused = false, busy = false, again = false, timer;
let pauses = 0; // so far: what was asked for before the last one is not shown any more

/** Asks for everything once, and again after a while. */
async function round() {
  clearTimeout(timer);
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  do {
    again = false;
    await look();
  } while (again);
  busy = false;
  show();
  if (!paused && !document.hidden && !stopped()) timer = setTimeout(round, every);
}

// stopped reports whether asking again makes no sense until somebody does
// something: the browser would ask for the password over and over.
const stopped = () => [401, 403, 429].includes(known.failure?.status);

async function look() {
  const before = pauses, late = () => before !== pauses;
  try {
    const who = known.who ?? (await ask("whoami")).body;
    const sync = (await ask("sync/status")).body;
    if (late()) return;
    Object.assign(known, { who, sync, failure: undefined });
  } catch (e) {
    if (late()) return;
    known.failure = failure(e);
    if (stopped()) known.who = undefined; // whoever asks next may be somebody else
    return;
  }
  const sync = known.sync, at = Date.now() - sync.ageMs;
  showWho(known.who);
  showSync(sync);
  tellOutcome(sync);
  known.oldFor = sync.ageMs > old ? known.oldFor + 1 : 0;
  const index = `${sync.generation} ${sync.reflectedIndex}`;
  await Promise.all([
    part(late, "totals", async () => {
      const all = index === known.index ? undefined : await totals();
      return () => {
        if (all) showTotals(all);
        known.index = index;
        if (!(Math.abs(at - known.asOf) < jitter)) known.asOf = at;
      };
    }),
    part(late, "sizes", async () => {
      const start = Date.now();
      if (index === known.sizesIndex || start < known.sizesNext) return () => {};
      try {
        const counts = await fileCounts();
        return () => {
          showSizes(counts);
          known.sizesIndex = index;
        };
      } finally {
        known.sizesNext = Date.now() + rest * (Date.now() - start);
      }
    }),
    part(late, "tasks", async () => {
      const { body } = await ask("task/status");
      return () => showTasks(body);
    }),
  ]);
}

// part loads a part of the page, which returns what shows it, unless it is too
// late for that; a failure leaves what the page shows.
async function part(late, name, load) {
  try {
    const show = await load();
    if (late()) return;
    show();
    delete known.parts[name];
  } catch (e) {
    if (!late()) known.parts[name] = failure(e);
  }
}

// failure passes on failures of requests; others are faults of this page.
function failure(e) {
  if (e instanceof Failure) return e;
  console.error(e);
  return new Failure(-1, String(e));
}

// show brings the page to what is known.
function show() {
  showBanners(banners());
  const starting = known.sync?.state === "STARTING";
  for (const name of ["totals", "sizes", "tasks"]) {
    const f = known.failure || starting ? undefined : known.parts[name]; // else the banner says it
    showProblem(name, f ? `Not brought up to date: ${f.message}` : "");
  }
  tick();
}

function tick() { showAge(known.asOf, Date.now()); }

// banners returns what somebody who looks must know first.
function banners() {
  const f = known.failure, list = [];
  const kept = known.asOf === undefined ? "" : ` What is shown is of ${clock(known.asOf)}.`;
  const retry = { button: "Try again", act: round };
  switch (f?.status) {
  case undefined:
    break;
  case 0:
    return [{ kind: "bad", title: "Recon does not answer", text: `${f.message}; it is asked again every ${span(every)}.${kept}` }];
  case 401:
    return [{ kind: "bad", title: "Not signed in", text: `Sign in with an access key as the name and its secret as the password.${kept}`, button: "Sign in", act: round }];
  case 403:
    return [{ kind: "bad", title: "You may not look at this", text: `${f.message}.${kept}`, ...retry }];
  case 429:
    return [{ kind: "bad", title: "Too many wrong passwords", text: `${f.message}.${kept}`, ...retry }];
  case 503:
    return [{ kind: "warn", title: kept ? "Recon cannot answer now" : "There is nothing to show yet", text: `${f.message}.${kept}` }];
  default:
    return [{ kind: "bad", title: "Recon failed", text: `${f.message}.${kept}` }];
  }
  const sync = known.sync;
  if (!sync) return list;
  if (sync.state === "STARTING") {
    const why = [known.parts.totals?.message, sync.error, sync.building && `${words(sync.building.phase)} is under way`].filter(Boolean).join("; ");
    list.push({ kind: "warn", title: "There is nothing to show yet", text: why ? `${why}.` : "Recon is reading the namespace for the first time." });
  } else if (sync.state === "RETRYING") {
    list.push({ kind: "warn", title: "The OM does not answer", text: `${sync.error || "It is asked again"}.${kept}` });
  } else if (known.oldFor >= oldRounds) {
    list.push({ kind: "warn", title: "The numbers are old", text: `Recon has not caught up with the OM.${kept}` });
  }
  if (sync.building && sync.state !== "STARTING") {
    list.push({ kind: "note", title: "The namespace is being brought anew", text: `Reason: ${words(sync.building.reason)}; step: ${words(sync.building.phase)}. Until it is here, the numbers are those of before.` });
  }
  return list;
}

/** Tells Recon to bring the namespace from the OM anew. */
async function sync() {
  const button = document.getElementById("sync"), before = known.sync;
  button.disabled = true;
  try {
    const { body } = await ask("triggerdbsync/om");
    showResult(body === true ? `A full sync was started at ${clock(Date.now())}.` : "A full sync is under way already.", true);
    if (body === true && before) started = { syncs: before.syncs, failed: before.failed };
  } catch (e) {
    showResult(`At ${clock(Date.now())} no full sync was started: ${failure(e).message}.`, false);
  }
  button.disabled = false;
  button.focus(); // disabled, it lost it
  round();
}

// tellOutcome says what came of the full sync that was started from here. When
// Recon was started anew meanwhile, nobody knows.
function tellOutcome(sync) {
  if (!started) return;
  if (sync.syncs > started.syncs) showResult(`The full sync is done. It took ${took(sync.lastSync.tookMs)}.`, true);
  else if (sync.failed > started.failed) showResult(`The full sync failed: ${sync.lastSync.error}.`, false);
  else if (sync.syncs < started.syncs) showResult("Recon was started anew before the full sync was done.", false);
  else return;
  started = undefined;
}

function pause() {
  paused = !paused;
  const button = document.getElementById("pause");
  button.textContent = paused ? "Continue updates" : "Pause updates";
  if (!paused) round();
  else {
    pauses++;
    clearTimeout(timer);
  }
}

document.getElementById("sync").addEventListener("click", sync);
document.getElementById("pause").addEventListener("click", pause);
document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused && !stopped()) round(); });
setInterval(tick, 1000);
round();
