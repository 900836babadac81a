/** The built page in a real browser. Screenshots go to docs/ with SCREENSHOTS=1. */
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PATIENCE_MS, PICTURES, Site, WEB, browser, difference, enhance, python, tested, visit, type Visit } from "./page";

const PHOTOGRAPHS = ["astronaut", "coffee", "chelsea"];
const DOCS = join(WEB, "..", "..", "docs");

async function screenshot(page: Page, name: string): Promise<void> {
  if (!process.env["SCREENSHOTS"]) return;
  await page.screenshot({ path: join(DOCS, `${name}.jpg`), type: "jpeg", quality: 80 });
}

describe("on WebAssembly", { timeout: PATIENCE_MS }, () => {
  let [site, chrome, first]: [Site, Browser, Visit] = [] as never;
  beforeAll(async () => {
    [site, chrome] = [await Site.start(), await browser(false)];
    first = await visit(site, chrome);
  }, PATIENCE_MS);
  afterAll(async () => {
    await chrome?.close();
    site?.stop();
  });

  test("the self-test passes, and the badge names what ran", async () => {
    expect(await first.page.innerText("#badge")).toMatch(/Self-test PASS\s+WebAssembly.*, fp32/);
    expect(await first.page.evaluate(() => crossOriginIsolated)).toBe(true);
    await screenshot(first.page, "browser-start");
  });

  test("the first load is under 8 MB besides the model", () => {
    const files = new Set(first.asked.map((url) => new URL(url).pathname).filter((path) => !path.startsWith("/models/")));
    const sizes = [...files].map((path) => {
      const file = join(WEB, "dist", path === "/" ? "index.html" : path);
      return Math.min(statSync(file).size, statSync(`${file}.br`, { throwIfNoEntry: false })?.size ?? Infinity);
    });
    const total = sizes.reduce((sum, size) => sum + size, 0);
    console.log(`first load besides the model: ${(total / 1e6).toFixed(2)} MB in ${files.size} files`);
    expect(files.size).toBeGreaterThan(5);
    expect(total).toBeLessThan(8e6);
    // the largest build of ONNX Runtime takes the place of the one in use where there is WebGPU
    expect(statSync(join(WEB, "dist", "models", "small-fp16.onnx.br")).size).toBeLessThan(2e6);
  });

  test.each(PHOTOGRAPHS)("%s is PyTorch's picture", async (name) => {
    await enhance(first.page, `${name}.png`);
    const largest = await difference(first.page, name);
    console.log(`WebAssembly, ${name}: ${largest} codes`);
    expect(largest).toBeLessThanOrEqual(1);
  });

  test.each(["paste", "drop"])("%s brings a photograph in", async (way) => {
    const { page } = first;
    await page.evaluate(async (way) => {
      const canvas = new OffscreenCanvas(40, 30);
      canvas.getContext("2d")!.fillRect(0, 0, 20, 30);
      const carried = new DataTransfer();
      carried.items.add(new File([await canvas.convertToBlob()], `${way}.png`, { type: "image/png" }));
      const init = { bubbles: true, cancelable: true };
      const event = way === "drop" ? new DragEvent("drop", { ...init, dataTransfer: carried }) : new ClipboardEvent("paste", { ...init, clipboardData: carried });
      document.body.dispatchEvent(event);
    }, way);
    await expect.poll(() => page.innerText("#facts"), { timeout: 60_000 }).toBe(`${way}.png · 40 × 30`);
  });

  test("what is no photograph is refused by name", async () => {
    await first.page.setInputFiles("#file", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no") });
    await expect.poll(() => first.page.innerText("#message"), { timeout: 60_000 }).toContain("notes.txt should be a photograph");
    await enhance(first.page, "coffee-dark.jpg");
    await screenshot(first.page, "browser");
  });

  test("the sliders change the picture, and Reset brings it back", async () => {
    const { page } = first;
    const shown = () => page.evaluate(() => (document.getElementById("after") as HTMLCanvasElement).toDataURL());
    const before = await shown();
    await page.focus("#exposure");
    for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowRight");
    expect(await page.innerText("#exposure-value")).toBe("+0.3 stops");
    await expect.poll(shown, { timeout: 20_000 }).not.toBe(before);
    await page.click("#reset");
    await expect.poll(shown, { timeout: 20_000 }).toBe(before);
  });

  test("strength 0 is the photograph itself", async () => {
    const { page } = first;
    await page.focus("#strength");
    await page.keyboard.press("Home");
    const same = () =>
      page.evaluate(() => {
        const [one, two] = ["before", "after"].map((id) => {
          const canvas = document.getElementById(id) as HTMLCanvasElement;
          return canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height).data;
        });
        return one.every((code, i) => code === two[i]);
      });
    await expect.poll(same, { timeout: 20_000 }).toBe(true);
    await page.click("#reset");
  });

  test("everything can be reached by the keyboard and has a name", async () => {
    const { page } = first;
    await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur());
    const reached: string[] = [];
    for (let i = 0; i < 12; i++) {
      await page.keyboard.press("Tab");
      reached.push(await page.evaluate(() => document.activeElement?.id || document.activeElement?.tagName || ""));
    }
    expect(reached).toEqual(expect.arrayContaining(["badge", "divider", "strength", "exposure", "reset", "download", "another", "SUMMARY"]));
    const nameless = await page.$$eval("input, select, button", (all) =>
      all.filter((one) => {
        const labels = (one as HTMLInputElement).labels ?? [];
        return ![...labels].some((label) => label.textContent?.trim()) && !one.getAttribute("aria-label") && !one.textContent?.trim();
      }).map((one) => one.id));
    expect(nameless).toEqual([]);
  });

  test("the download is upright, of its own size, with profile and EXIF", async () => {
    const { page } = first;
    await enhance(page, "turned.jpg");
    expect(await page.innerText("#facts")).toContain("400 × 600");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
    expect(download.suggestedFilename()).toBe("turned-enhanced.jpg");
    const path = (await download.path())!;
    const said = python("apps/web/browser/metadata.py", join(PICTURES, "turned.jpg"), path);
    expect(JSON.parse(said)).toEqual({ size: [400, 600], orientation: 1, pixels: [400, 600], maker: "Maker", date: "2026:01:02 03:04:05", place: "N", profile: true, brighter: true });
  });

  test("the measurement is a report that compare reads", async () => {
    const { page } = first;
    await page.click("summary:has-text('Speed')");
    await page.click("#measure");
    await page.waitForSelector("#measured:not([hidden])");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#report")]);
    const path = join(PICTURES, "latency.json");
    writeFileSync(path, readFileSync((await download.path())!));
    const table = python("-m", "bncagan", "compare", path, path);
    expect(table).toContain("small-fp32.onnx");
    expect(JSON.parse(readFileSync(path, "utf8")).rows[0].inference_ns).toHaveLength(20);
  });

  test("after the first visit the page works offline", async () => {
    const { page } = first;
    await page.context().setOffline(true);
    await page.reload();
    expect(await tested(page)).toContain("Self-test PASS");
    await enhance(page, "chelsea.png");
    expect(await difference(page, "chelsea")).toBeLessThanOrEqual(1);
    await page.context().setOffline(false);
  });

  test("no request left the origin, and none carried a photograph", () => {
    expect(first.asked.length).toBeGreaterThan(20);
    const elsewhere = first.asked.filter((url) => !url.startsWith(site.url) && !/^(blob|data):/.test(url));
    expect(elsewhere).toEqual([]);
  });

  test("what the page draws on a phone, and in the dark", async () => {
    const { page } = await visit(site, chrome, "", { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
    await enhance(page, "coffee-dark.jpg");
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
    await screenshot(page, "browser-phone");
    await page.context().close();
    const dark = await visit(site, chrome, "", { colorScheme: "dark" });
    await enhance(dark.page, "coffee-dark.jpg");
    await dark.page.click("summary:has-text('Self-test')");
    await screenshot(dark.page, "browser-dark");
    await dark.page.context().close();
  });
});

test("a wrong model fails the self-test by the picture's name", { timeout: PATIENCE_MS }, async () => {
  const [site, chrome] = [await Site.start("wrong"), await browser(false)];
  try {
    const { page } = await visit(site, chrome);
    const said = await page.innerText("#badge");
    expect(said).toMatch(/Self-test FAIL\s+picture “\w+/);
    await enhance(page, "chelsea.png");
    expect(await page.innerText("#message")).toContain("No backend passed the self-test");
    expect(await page.isDisabled("#download")).toBe(true);
  } finally {
    await chrome.close();
    site.stop();
  }
});

test("WebGPU on a software adapter draws PyTorch's pictures", { timeout: 2 * PATIENCE_MS }, async () => {
  const [site, chrome] = [await Site.start("quick"), await browser(true)];
  try {
    const { page, asked } = await visit(site, chrome, "?backend=webgpu");
    const badge = await page.innerText("#badge");
    expect(badge).toMatch(/Self-test PASS\s+WebGPU, fp(16|32)/);
    expect(await page.textContent("#tried")).toContain("are changed on WebGPU");
    for (const name of [...PHOTOGRAPHS.map((each) => `${each}-small`), "strip"]) {
      await enhance(page, `${name}.png`);
      const largest = await difference(page, name);
      console.log(`${badge.replace(/\s+/g, " ")}, ${name}: ${largest} codes`);
      expect(largest).toBeLessThanOrEqual(badge.includes("fp32") ? 1 : 2);
    }
    expect(asked.filter((url) => !url.startsWith(site.url) && !/^(blob|data):/.test(url))).toEqual([]);
  } finally {
    await chrome.close();
    site.stop();
  }
});
