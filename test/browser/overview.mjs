// The overview of a server that has all roles: what it shows is what the API says,
// it follows, it keeps its numbers while the server is away, and it is for everybody.

import assert from "node:assert/strict";
import { api, ask, banner, banners, browse, contrasts, eventually, fits, numbers, quiet } from "./browse.mjs";

// agrees waits until all that the page shows is what the API says.
async function agrees(page, keys) {
  await eventually(async () => {
    const state = await api("clusterState"), pending = await api("pendingDeletion?component=om"), open = await api("keys/open/summary"), expiry = await api("lifecycle/summary");
    assert.equal(state.keys, keys);
    const shown = await numbers(page);
    for (const name of ["volumes", "buckets", "keys", "snapshots", "containers", "keysPendingDeletion", "deletedDirs"]) assert.equal(shown[name], state[name], name);
    assert.equal(shown.pendingBytes, pending.totalSize);
    assert.equal(shown.heldBytes, pending.snapshotHeldSize);
    assert.deepEqual([shown.ruledBuckets, shown.unfinishedScans, shown.expiredKeys], [expiry.buckets, expiry.unfinishedScans, expiry.deletedKeys + expiry.movedKeys]);
    assert.equal(shown.openKeys, open.totalOpenKeys);
    assert.equal(await page.locator('[data-total="keys"]').innerText(), keys.toLocaleString("en"));
  });
  await eventually(async () => {
    const files = new Map();
    for (const row of await api("utilization/fileCount")) files.set(row.fileSize, (files.get(row.fileSize) ?? 0) + row.count);
    const want = [...files.entries()].filter(([, n]) => n > 0).sort(([a], [b]) => a - b).map(([, n]) => n);
    assert.ok(want.length > 2);
    const shown = (await page.locator("#sizes tbody td.number").allInnerTexts()).map(Number).filter((n) => n > 0);
    assert.deepEqual(shown, want);
    assert.equal(shown.reduce((a, b) => a + b), keys);
    const bars = await page.$$eval("#sizes .bar rect", (all) => all.map((e) => Number(e.getAttribute("width"))));
    assert.equal(Math.max(...bars), 100);
  });
  await eventually(async () => {
    const tasks = await api("task/status");
    assert.ok(tasks.length > 5);
    assert.deepEqual(await page.locator("#tasks tbody th").allTextContents(), tasks.map((t) => t.taskName));
    assert.deepEqual(await page.locator("#tasks tbody td:nth-of-type(1)").allInnerTexts(), tasks.map((t) => (t.isCurrentTaskRunning ? "running" : "well")));
  });
}

await browse("overview", {}, async (page) => {
  await agrees(page, 20);
  await quiet(page);
  await eventually(async () => { // a look in the middle of the first start says less
    assert.equal(await page.locator('[data-fresh="source"]').innerText(), (await api("sync/status")).source);
    assert.equal(await page.locator('[data-fresh="state"]').innerText(), "following");
    assert.match(await page.locator('[data-fresh="lastSync"]').innerText(), /first start; took/);
    assert.match(await page.locator("#asof").innerText(), /^As of .*, \d+ s ago\.$/);
  });
  const who = await api("whoami");
  assert.deepEqual([who.role, who.mayTrigger, who.accessKey], ["admin", true, process.env.ACCESS_KEY]);
  assert.equal(await page.locator("#who").innerText(), `Signed in as ${who.user} (admin)`);

  // New objects come by themselves.
  await ask("put 7");
  await agrees(page, 27);

  // It is for narrow and wide, light and dark.
  await fits(page, 320, 360, 768, 1280, 2560);
  await contrasts(page);

  // By keyboard: to the content, pause, then "Sync now".
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "pause");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Continue updates" }).waitFor();
  const before = await numbers(page);
  await ask("put 1");
  await eventually(async () => assert.equal((await api("clusterState")).keys, 28));
  assert.deepEqual(await numbers(page), before, "it goes on while it is paused");
  await page.keyboard.press("Enter");
  await agrees(page, 28);
  const made = (await api("sync/status")).syncs;
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.locator("#sync-result", { hasText: /^(A full sync was started at|The full sync is done)/ }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "sync", "the focus is lost");
  await eventually(async () => assert.ok((await api("sync/status")).syncs > made));
  await page.locator('[data-fresh="lastSync"]', { hasText: "manual trigger" }).waitFor();
  await page.locator("#sync-result", { hasText: /^The full sync is done\. It took \d+ (ms|s)/ }).waitFor();
  await quiet(page);
  await agrees(page, 28);
  assert.deepEqual(page.unloaded, []);

  // The server goes away: the numbers stay, and how old they are is said.
  const last = await numbers(page);
  await ask("stop");
  await banner(page, "Recon does not answer");
  assert.match((await banners(page))[0], /What is shown is of \d/);
  assert.deepEqual(await numbers(page), last);
  await page.locator("#asof", { hasText: /, [1-9].* s ago/ }).waitFor();
  await fits(page, 360);
  await contrasts(page);
  await page.getByRole("button", { name: "Sync now" }).click();
  await page.locator("#sync-result.bad", { hasText: "no full sync was started" }).waitFor();
  await contrasts(page);

  // It comes back: so do they.
  await ask("start");
  await quiet(page);
  await ask("put 2");
  await agrees(page, 30);
  assert.ok(page.unloaded.every((line) => line.includes("ERR_CONNECTION") || line.includes("ERR_EMPTY_RESPONSE") || line.includes(" 503 ")), page.unloaded.join("\n"));
});

// What a real server does rarely or for a moment only: the answers are changed on
// the way to the page. The numbers stay in all of it.
await browse("states", {}, async (page) => {
  await agrees(page, 30);
  const last = await numbers(page);
  const asItIs = await api("sync/status");
  let sync = {}, other = null;
  await page.route("**/api/v1/sync/status", (r) => (sync.status ? r.fulfill(sync) : r.fulfill({ json: { ...asItIs, ...sync } })));
  await page.route(/\/api\/v1\/(clusterState|task|utilization)/, (r) => (other ? r.fulfill(other) : r.continue()));
  let held = null; // what is told of a request for the state of all, which is then not answered yet
  await page.route("**/api/v1/clusterState", (r) => (held ? held(r) : r.fallback()));
  const error = (status, detail) => ({ status, json: { kind: "k", subject: "s", detail, status } });
  const building = { generation: "g", reason: "DIGEST_DIFFERS", detail: "at 5", phase: "IMAGE", since: Date.now(), done: 1 << 20, total: 4 << 20 };

  sync = { state: "SYNCING", building };
  await banner(page, "Reason: digest differs; step: image");
  assert.match(await page.locator('[data-fresh="building"]').innerText(), /^image, 1 MiB of 4 MiB; since .*; digest differs \(at 5\)$/);
  assert.equal(await page.locator("#progress").evaluate((e) => e.position), 0.25);
  await contrasts(page);

  sync = { state: "FOLLOWING", ageMs: 3_600_000, lag: 9, building: null };
  await banner(page, "The numbers are old");
  await page.locator("#asof", { hasText: /1 h 0 min ago/ }).waitFor();
  assert.equal(await page.locator('[data-fresh="lag"]').innerText(), "9");
  assert.equal(await page.locator("#progress").isVisible(), false);

  sync = { reflectedIndex: asItIs.reflectedIndex + 1 };
  other = error(500, "<b>broken</b>");
  for (const part of ["totals", "sizes", "tasks"]) await page.locator(`#problem-${part}`, { hasText: "Not brought up to date: s: <b>broken</b>" }).waitFor();
  await contrasts(page);
  other = { status: 200, contentType: "text/html", body: "<html>a proxy</html>" };
  await page.locator("#problem-totals", { hasText: "is not JSON" }).waitFor();
  other = null;
  await page.locator("#problem-totals").waitFor({ state: "hidden" });

  sync = error(503, "it has not read the namespace yet");
  await banner(page, "Recon cannot answer now");
  sync = error(500, "no");
  await banner(page, "Recon failed. s: no");
  for (const [status, title] of [[403, "You may not look at this"], [429, "Too many wrong passwords"]]) {
    sync = error(status, "because");
    await banner(page, title);
    assert.match((await banners(page))[0], /s: because\. What is shown is of/);
    sync = {};
    await page.getByRole("button", { name: "Try again" }).click();
    await quiet(page);
  }
  await page.route("**/api/v1/triggerdbsync/om", (r) => r.fulfill(error(403, "it takes an admin")));
  await page.getByRole("button", { name: "Sync now" }).click();
  await page.locator("#sync-result.bad", { hasText: "no full sync was started: s: it takes an admin." }).waitFor();

  // What was asked for before a pause is not shown after it.
  const rest = page.waitForResponse(/lifecycle\/summary/);
  const request = new Promise((asked) => { held = asked; });
  sync = { reflectedIndex: asItIs.reflectedIndex + 2 };
  const slow = await request;
  await (await rest).finished();
  await page.getByRole("button", { name: "Pause updates" }).click();
  const answered = page.waitForResponse(/clusterState/);
  await slow.fulfill({ json: { ...(await api("clusterState")), keys: 12345 } });
  await (await answered).finished();
  await page.evaluate(() => new Promise((later) => setTimeout(later)));
  assert.deepEqual(await numbers(page), last, "it goes on while it is paused");
  held = null;
  await page.getByRole("button", { name: "Continue updates" }).click();
  await quiet(page);
  assert.deepEqual(await numbers(page), last);
});

// Who may not have anything done is not offered it.
const reader = { index: 1, ageMs: 0, user: "ann", accessKey: "k", role: "user", mayLook: true, mayTrigger: false };
await browse("reader", { answers: { "**/api/v1/whoami": reader } }, async (page) => {
  await agrees(page, 30);
  assert.equal(await page.locator("#who").innerText(), "Signed in as ann (user)");
  assert.equal(await page.getByRole("button", { name: "Sync now" }).count(), 0);
  await page.getByRole("button", { name: "Pause updates" }).waitFor();
  await fits(page, 320, 1280);
  await contrasts(page);
});

// Who has not signed in is told so, and is not asked over and over.
await browse("signed-out", { signedIn: false }, async (page) => {
  await banner(page, "Not signed in");
  let asked = 0;
  page.on("request", () => asked++);
  await page.clock.install();
  await page.clock.runFor(30_000);
  assert.equal(asked, 0);
  await page.getByRole("button", { name: "Sign in" }).click();
  await eventually(() => assert.ok(asked > 0));
  assert.equal(await page.locator('[data-total="keys"]').innerText(), "–");
  await fits(page, 360);
});

// Without scripts there is a word.
await browse("no-scripts", { javaScriptEnabled: false }, async (page) => {
  assert.match(await page.locator("noscript .banner").innerText(), /^This page needs JavaScript/);
});
process.exit(0);
