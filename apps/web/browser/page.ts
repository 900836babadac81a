/** A server of the page, a browser, and what every test does with them. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";

export const WEB = fileURLToPath(new URL("..", import.meta.url));
export const PICTURES = join(WEB, "browser", "pictures");
const ROOT = join(WEB, "..", "..");
const PYTHON = process.env["PYTHON"] ?? "python3";
const CHROMIUM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
const QUIET = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"];
const APART = ["--disable-component-update", "--disable-sync"];
// The WebGPU of a machine without a GPU
const SOFTWARE = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"];
export const PATIENCE_MS = 300_000; // of a step on a busy machine

export function python(...words: string[]): string {
  const env = { ...process.env, PYTHONPATH: ROOT };
  const done = spawnSync(PYTHON, words, { cwd: ROOT, encoding: "utf8", env });
  if (done.status !== 0) throw new Error(`${words.join(" ")}: ${done.stderr}`);
  return done.stdout;
}

export class Site {
  private constructor(
    readonly url: string,
    private readonly process: ChildProcess,
    private readonly folder: string | null,
  ) {}

  /** Serve the built page by `bncagan serve`; `models`: a folder of browser/pictures in place of its models. */
  static async start(models: string | null = null): Promise<Site> {
    const folder = models && mkdtempSync(join(tmpdir(), "bncagan-page-"));
    if (folder && models) {
      cpSync(join(WEB, "dist"), folder, { recursive: true, filter: (path) => !path.includes(join("dist", "models")) });
      cpSync(join(PICTURES, models), join(folder, "models"), { recursive: true });
      const listed = spawnSync("node", [join(WEB, "models.mjs"), join(folder, "models")], { encoding: "utf8" });
      if (listed.status !== 0) throw new Error(listed.stderr);
    }
    const words = ["-m", "bncagan", "serve", "--port", "0", "--folder", folder ?? join(WEB, "dist")];
    const server = spawn(PYTHON, words, { cwd: ROOT, env: { ...process.env, PYTHONPATH: ROOT } });
    const url = await new Promise<string>((done, failed) => {
      let said = "";
      const hear = (text: Buffer) => {
        said += text.toString();
        const found = /http:\S+/.exec(said);
        if (found) done(found[0]);
      };
      server.stdout.on("data", hear);
      server.stderr.on("data", hear);
      server.on("exit", () => failed(new Error(`bncagan serve ended: ${said}`)));
    });
    return new Site(url, server, folder);
  }

  stop(): void {
    this.process.kill();
    if (this.folder) rmSync(this.folder, { recursive: true });
  }
}

export function browser(gpu: boolean): Promise<Browser> {
  const args = [...QUIET, ...APART, ...(gpu ? SOFTWARE : ["--disable-gpu"])];
  return chromium.launch({ executablePath: CHROMIUM, headless: true, args });
}

export interface Visit {
  page: Page;
  /** Everything that the page, its workers and its service worker asked for. */
  asked: string[];
}

export async function visit(site: Site, from: Browser, query = "", options: BrowserContextOptions = {}): Promise<Visit> {
  const context = await from.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const asked: string[] = [];
  context.on("request", (request) => asked.push(request.url()));
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto(site.url + query);
  await tested(page);
  return { page, asked };
}

/** Wait for the verdict, and return what the badge says. */
export async function tested(page: Page): Promise<string> {
  await page.waitForFunction(() => document.getElementById("badge")?.dataset["state"] !== "testing");
  return page.innerText("#badge");
}

export async function enhance(page: Page, file: string): Promise<void> {
  await page.setInputFiles("#file", join(PICTURES, file));
  const name = file.split("/").at(-1)!;
  await page.waitForFunction(
    (name) => {
      const ready = document.getElementById("facts")?.textContent?.startsWith(name);
      const message = document.getElementById("message");
      return message?.classList.contains("bad") || (ready && message?.textContent === "");
    },
    name,
  );
}

/** The largest difference in codes between the enhanced picture on the screen and PyTorch's. */
export async function difference(page: Page, name: string): Promise<number> {
  const expected = readFileSync(join(PICTURES, `${name}.rgb`));
  const shown = await page.evaluate(() => {
    const canvas = document.getElementById("after") as HTMLCanvasElement;
    const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
    return btoa(Array.from(data, (code) => String.fromCharCode(code)).join(""));
  });
  const rgb = Buffer.from(shown, "base64").filter((_, i) => i % 4 !== 3);
  if (rgb.length !== expected.length) throw new Error(`${name} should have ${expected.length} codes but has ${rgb.length}`);
  return rgb.reduce((most, code, i) => Math.max(most, Math.abs(code - expected[i])), 0);
}
