// What the scripts have in common: the browser, the test that runs them, the API,
// and what holds for every page.

import assert from "node:assert/strict";
import path from "node:path";
import readline from "node:readline";
import { chromium } from "playwright-core";

const { CHROMIUM, PICTURES, RECON, ACCESS_KEY, SECRET_KEY, O3_BROWSER_PICTURES } = process.env;

/** How long is waited for something that is to happen; machines are busy. */
export const patience = 120_000;

const replies = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the test do something. */
export async function ask(what) {
  console.log(`> ${what}`);
  const { value } = await replies.next();
  assert.equal(value, "done", what);
}

/** Asks Recon's API. */
export async function api(what) {
  const authorization = "Basic " + Buffer.from(`${ACCESS_KEY}:${SECRET_KEY}`).toString("base64");
  const response = await fetch(`${RECON}/api/v1/${what}`, { headers: { authorization } });
  assert.equal(response.status, 200, `${what}: ${response.status}`);
  return response.json();
}

/** Repeats f until it throws no more. */
export async function eventually(f) {
  const late = Date.now() + patience;
  for (;;) {
    try {
      return await f();
    } catch (e) {
      if (Date.now() > late) throw e;
    }
    await new Promise((again) => setTimeout(again, 100));
  }
}

/**
 * Opens the console and runs f(page); then nothing may have gone wrong in it.
 * signedIn: whether whoever sits there knows the password; who does not types a
 * wrong one and gives up. answers: what the page is answered in place of the
 * server's answers, by URL; it may ask as soon as it is open, so that f would be
 * too late. What f fails with is thrown after a picture was taken.
 */
export async function browse(name, { signedIn = true, answers = {}, ...options }, f) {
  const browser = await chromium.launch({ timeout: patience, executablePath: CHROMIUM, args: ["--disable-gpu", "--disable-dev-shm-usage"] });
  try {
    const context = await browser.newContext({
      viewport: { width: 1280, height: 900 }, locale: "en-GB", serviceWorkers: "block",
      httpCredentials: { username: ACCESS_KEY, password: signedIn ? SECRET_KEY : "wrong", origin: RECON }, // a wrong one is given once
      ...options,
    });
    const page = await context.newPage();
    page.setDefaultTimeout(patience);
    page.faults = [];  // what scripts complain of, and what the policy forbids
    page.unloaded = []; // what could not be loaded: the browser says so itself
    page.on("pageerror", (e) => page.faults.push(String(e)));
    page.on("console", (m) => {
      if (m.type() !== "error" && m.type() !== "warning") return;
      (m.text().startsWith("Failed to load resource") ? page.unloaded : page.faults).push(`${m.text()} ${m.location().url}`);
    });
    page.on("request", (r) => { if (!r.url().startsWith(RECON + "/")) page.faults.push(`it asked for ${r.url()}`); });
    for (const [url, json] of Object.entries(answers)) await page.route(url, (r) => r.fulfill({ json }));
    try {
      await page.goto(RECON + "/");
      assert.equal(page.url(), RECON + "/console/");
      await f(page);
      assert.deepEqual(page.faults, []);
      if (O3_BROWSER_PICTURES) await picture(page, name);
    } catch (e) {
      await page.screenshot({ path: path.join(PICTURES, `${name}-failed.png`), fullPage: true }).catch(() => {});
      console.error(`the page says:\n${await page.innerText("body").catch(String)}\nnot loaded: ${page.unloaded.join("\n")}\nfaults: ${page.faults.join("\n")}`);
      throw e;
    }
  } finally {
    await browser.close();
  }
  console.log(`${name}: as it should be`);
}

// picture takes a wide light picture and a narrow dark one.
async function picture(page, name) {
  await page.screenshot({ path: path.join(PICTURES, `${name}.png`), fullPage: true });
  await page.setViewportSize({ width: 360, height: 800 });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: path.join(PICTURES, `${name}-narrow.png`), fullPage: true });
}

/** Returns the numbers of the page, by name. */
export const numbers = (page) => page.$$eval("[data-total]", (all) => Object.fromEntries(all.map((e) => [e.dataset.total, Number(e.dataset.value)])));

/** Returns the texts of the page's banners. */
export const banners = (page) => page.locator("#banners .banner").allInnerTexts();

/** Waits until a banner says something. */
export const banner = (page, text) => page.locator("#banners .banner", { hasText: text }).waitFor();

/** Waits until there is no banner. */
export const quiet = (page) => eventually(async () => assert.deepEqual(await banners(page), []));

/** Nothing is wider than the page, at any of the widths. */
export async function fits(page, ...widths) {
  const before = page.viewportSize();
  for (const width of widths) {
    await page.setViewportSize({ width, height: 800 });
    const wide = await page.evaluate(() => ({ is: document.scrollingElement.scrollWidth, may: document.scrollingElement.clientWidth }));
    assert.ok(wide.is <= wide.may, `at ${width} the page is ${wide.is} wide`);
    const out = await page.$$eval("main *", (all) => all.filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".hidden-text")).map((e) => e.outerHTML.slice(0, 80)));
    assert.deepEqual(out, [], `at ${width} something is out of sight`);
  }
  await page.setViewportSize(before);
}

/** Every text has a contrast of at least 4.5 with what is behind it, in both schemes. */
export async function contrasts(page) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    const weak = await page.evaluate(() => {
      const parts = (color) => color.match(/[\d.]+/g).map(Number);
      const light = (color) => {
        const [r, g, b] = parts(color).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const behind = (e) => {
        for (; e; e = e.parentElement) {
          const color = getComputedStyle(e).backgroundColor, [, , , alpha = 1] = parts(color);
          if (alpha === 1) return color;
        }
        return "rgb(255, 255, 255)";
      };
      const out = [];
      let looked = 0;
      for (const e of document.body.querySelectorAll("*")) {
        const own = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim() !== "");
        if (!own || !e.checkVisibility() || e.closest(".hidden-text") || e.disabled) continue;
        looked++;
        const a = light(getComputedStyle(e).color), b = light(behind(e));
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) out.push(`${e.outerHTML.slice(0, 60)}: ${contrast.toFixed(2)}`);
      }
      return looked > 20 ? out : [`only ${looked} texts`];
    });
    assert.deepEqual(weak, [], colorScheme);
  }
  await page.emulateMedia({ colorScheme: null });
}
