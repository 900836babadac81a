/** The page: from the ways in to the file that goes out. */
import { showError, showStarted, showTesting } from "./badge";
import { Client } from "./client";
import { DEFAULT, type Controls } from "./controls";
import { element, made } from "./elements";
import { takePhotographs } from "./intake";
import type { Report } from "./latency";
import { servedOffline } from "./offline";
import "./style.css";

const RUNS = 20; // of a measurement
const client = new Client(showTesting);
const strength = element("strength", HTMLInputElement);
const exposure = element("exposure", HTMLInputElement);
const divider = element("divider", HTMLInputElement);
const models = element("model", HTMLSelectElement);
const download = element("download", HTMLButtonElement);
const measure = element("measure", HTMLButtonElement);
const message = element("message", HTMLElement);
let photograph: { file: Blob; name: string } | null = null;
let started: Promise<boolean> = Promise.resolve(false);
let drawing = false;
let stale = false;

function controls(): Controls {
  return { strength: strength.valueAsNumber / 100, exposure: exposure.valueAsNumber };
}

function say(text: string, bad = false): void {
  message.textContent = text;
  message.classList.toggle("bad", bad);
}

/** Do something that takes time; the page says what, and says why if it fails. */
async function busy<T>(what: string, work: () => Promise<T>): Promise<T | undefined> {
  say(what);
  document.body.setAttribute("aria-busy", "true");
  try {
    const answer = await work();
    say("");
    return answer;
  } catch (error) {
    say(error instanceof Error ? error.message : String(error), true);
    return undefined;
  } finally {
    document.body.removeAttribute("aria-busy");
  }
}

/** Open a model, and test it; whether a backend passed. */
async function start(name: string): Promise<boolean> {
  measure.disabled = true;
  showTesting("Starting");
  try {
    const wanted = new URLSearchParams(location.search).get("backend");
    const answer = await client.ask("start", { name, wanted });
    showStarted(answer);
    models.replaceChildren(...answer.names.sort().reverse().map((each) => new Option(each, each, false, each === name)));
    measure.disabled = !answer.ready;
    if (!answer.ready) say("This device computes wrong pictures, so the page does not enhance photographs here.", true);
    return answer.ready;
  } catch (error) {
    showError(error instanceof Error ? error.message : String(error));
    return false;
  }
}

async function open(file: Blob, name: string): Promise<void> {
  await busy(`Enhancing ${name}`, async () => {
    photograph = { file, name };
    document.body.classList.add("opened");
    element("picture", HTMLElement).classList.add("waiting");
    if (!(await started)) throw new Error("No backend passed the self-test, so the photograph stays as it is.");
    const { width, height, before } = await client.ask("open", { file, name });
    draw("before", before);
    element("facts", HTMLElement).textContent = `${name} · ${width} × ${height}`;
    draw("after", await client.ask("preview", { controls: controls() }));
    element("picture", HTMLElement).classList.remove("waiting");
    download.disabled = false;
  });
}

function draw(id: string, image: ImageData): void {
  const canvas = element(id, HTMLCanvasElement);
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  const frame = element("picture", HTMLElement);
  frame.style.setProperty("--ratio", String(image.width / image.height));
}

/** Draw the newest setting of the sliders; those in between are left out. */
async function redraw(): Promise<void> {
  showSettings();
  if (download.disabled || drawing) {
    stale = drawing;
    return;
  }
  drawing = true;
  try {
    draw("after", await client.ask("preview", { controls: controls() }));
  } catch (error) {
    say(error instanceof Error ? error.message : String(error), true);
  }
  drawing = false;
  if (stale) {
    stale = false;
    await redraw();
  }
}

function showSettings(): void {
  const { strength: share, exposure: stops } = controls();
  const said = stops === 0 ? "0 stops" : `${stops > 0 ? "+" : "−"}${Math.abs(stops).toFixed(1)} stops`;
  element("strength-value", HTMLOutputElement).textContent = `${Math.round(100 * share)} %`;
  element("exposure-value", HTMLOutputElement).textContent = said;
  strength.setAttribute("aria-valuetext", `${Math.round(100 * share)} per cent`);
  exposure.setAttribute("aria-valuetext", said);
}

function showDivider(): void {
  element("picture", HTMLElement).style.setProperty("--divider", `${divider.value}%`);
}

function saved(blob: Blob, name: string): void {
  const link = made("a", "") as HTMLAnchorElement;
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function save(): Promise<void> {
  const blob = await busy("Making the file at its own size", () => client.ask("save", { controls: controls() }));
  if (blob && photograph) saved(blob, `${photograph.name.replace(/\.[^.]*$/, "")}-enhanced.jpg`);
}

let report: Report | null = null;
async function time(): Promise<void> {
  measure.disabled = true;
  report = (await busy(`Measuring ${RUNS} runs`, () => client.ask("measure", { runs: RUNS }))) ?? null;
  measure.disabled = false;
  if (!report) return;
  const row = report.rows[0];
  const rows = [
    ["Network alone", row.inference_ns],
    ["From bytes to bytes", row.end_to_end_ns],
  ] as const;
  element("times", HTMLElement).replaceChildren(
    ...rows.map(([name, samples]) => {
      const line = made("tr", "");
      const sorted = [...samples].sort((a, b) => a - b);
      const at = (share: number) => `${(sorted[Math.ceil(share * sorted.length) - 1] / 1e6).toFixed(1)}`;
      line.append(made("th", name), ...[0.5, 0.9, 1].map((share) => made("td", at(share))));
      return line;
    }),
  );
  element("measured", HTMLElement).hidden = false;
}

function reset(): void {
  strength.valueAsNumber = 100 * DEFAULT.strength;
  exposure.valueAsNumber = DEFAULT.exposure;
  void redraw();
}

async function main(): Promise<void> {
  takePhotographs((file) => void open(file, file.name || "photograph.png"));
  for (const slider of [strength, exposure]) slider.addEventListener("input", () => void redraw());
  divider.addEventListener("input", showDivider);
  download.addEventListener("click", () => void save());
  measure.addEventListener("click", () => void time());
  element("badge", HTMLElement).addEventListener("click", () => (element("test", HTMLDetailsElement).open = true));
  element("reset", HTMLButtonElement).addEventListener("click", reset);
  element("report", HTMLButtonElement).addEventListener("click", () => {
    if (report) saved(new Blob([JSON.stringify(report)], { type: "application/json" }), "browser-latency.json");
  });
  models.addEventListener("change", () => {
    started = start(models.value);
    if (photograph) void open(photograph.file, photograph.name);
  });
  showSettings();
  showDivider();
  started = servedOffline().then(() => start("small"));
  await started;
}

void main();
