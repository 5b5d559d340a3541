// The overview of Recon alone: there is nothing before it found its OM, and what
// it has stays when the OM is gone.

import assert from "node:assert/strict";
import { api, ask, banner, banners, browse, contrasts, eventually, fits, numbers, quiet } from "./browse.mjs";

await browse("alone", {}, async (page) => {
  await banner(page, "There is nothing to show yet");
  assert.ok((await banners(page))[0].length > "There is nothing to show yet. ".length, "no reason is given");
  assert.equal(await page.locator('[data-total="keys"]').innerText(), "–");
  await fits(page, 360);

  await ask("start");
  await quiet(page);
  await eventually(async () => assert.equal((await numbers(page)).keys, 20));

  const last = await numbers(page);
  await ask("stop");
  await banner(page, "The OM does not answer");
  assert.match((await banners(page))[0], /What is shown is of \d/);
  assert.deepEqual(await numbers(page), last);
  assert.equal((await api("clusterState")).keys, last.keys);
  await fits(page, 360);
  await contrasts(page);
  await page.locator("#asof", { hasText: /, [1-9].* s ago/ }).waitFor();

  // It is still there for who looks only now.
  await page.reload();
  await banner(page, "The OM does not answer");
  assert.deepEqual(await numbers(page), last);

  await ask("start");
  await quiet(page);
  assert.ok(page.unloaded.every((line) => line.includes(" 503 ")), page.unloaded.join("\n"));
});
process.exit(0);
