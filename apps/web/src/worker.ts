/** All that takes time, away from the page: the network, the photograph's pixels, the file. */
import type { Pixels } from "./change";
import { candidates, describeDevice, openFirst, type Answer, type Engine, type Loader, type Model } from "./engine";
import { result, seenByNetwork, type Seen } from "./enhance";
import { onCpu, onGpu, type Apply } from "./gpu";
import { measured } from "./latency";
import { encoded, fitting, read, type Photograph } from "./photo";
import type { Ask, Asks, Kind, Opened, Reply, Started } from "./protocol";

const SCREEN = 1600; // px: longest side of what the page shows
const MODELS = "models/"; // below the page

interface Opening {
  photograph: Photograph;
  answer: Answer;
  seen: Seen;
  screen: Pixels;
}

let engine: Engine | null = null;
let apply: Apply = onCpu;
let opening: Opening | null = null;

type Handlers = { [K in Kind]: (ask: Asks[K]["ask"]) => Promise<Asks[K]["answer"]> };
const handlers: Handlers = { start, open, preview, save, measure: (ask) => measured(ready(), ask.runs) };

let queue: Promise<unknown> = Promise.resolve();
self.onmessage = ({ data }: MessageEvent<Ask>) => {
  queue = queue.then(() => handle(data)); // one at a time, in order
};

async function handle(ask: Ask): Promise<void> {
  try {
    const handler = handlers[ask.kind] as (ask: Ask) => Promise<unknown>;
    send({ id: ask.id, answer: await handler(ask) });
  } catch (error) {
    send({ id: ask.id, error: error instanceof Error ? error.message : String(error) });
  }
}

function send(reply: Reply): void {
  self.postMessage(reply);
}

function ready(): Engine {
  if (!engine) throw new Error("No backend of this device passed the self-test, so it cannot enhance photographs.");
  return engine;
}

async function start({ name, wanted }: Asks["start"]["ask"]): Promise<Started> {
  const response = await fetched(`${MODELS}models.json`);
  const models = ((await response.json()) as { models: Model[] }).models;
  const device = await describeDevice();
  const found = await openFirst(candidates(models, name, device, wanted), loader(), device);
  engine = found.engine;
  const gpu = engine?.backend === "webgpu" ? await onGpu(device.adapter) : null;
  apply = gpu ?? onCpu;
  opening = null;
  return {
    names: [...new Set(models.map((model) => model.name))],
    tried: found.tried,
    ready: engine !== null,
    applier: gpu ? "WebGPU" : "the CPU",
  };
}

function loader(): Loader {
  const say = (what: string) => send({ say: what });
  return {
    say,
    async model(model) {
      say(`Loading the model (${(model.bytes / 1e6).toFixed(1)} MB)`);
      const bytes = await bytesOf(`${MODELS}${model.file}?v=${model.sha256.slice(0, 12)}`);
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
      const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
      if (hex !== model.sha256) throw new Error(`${model.file} did not arrive whole; load the page again.`);
      return bytes;
    },
    test: (model, name) => bytesOf(`${MODELS}${model.test}/${name}?v=${model.sha256.slice(0, 12)}`),
  };
}

async function bytesOf(path: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await (await fetched(path)).arrayBuffer());
}

/** A file of the page; this script lies in a folder below it. */
async function fetched(path: string): Promise<Response> {
  const response = await fetch(new URL(import.meta.env.DEV ? `/${path}` : `../${path}`, self.location.href));
  if (!response.ok) throw new Error(`${path} should be part of the page but the host answers ${response.status}.`);
  return response;
}

async function open({ file, name }: Asks["open"]["ask"]): Promise<Opened> {
  const running = ready();
  const photograph = await read(file, name);
  const seen = seenByNetwork(photograph.seen, running.model.side);
  const answer = await running.answer(seen.picture);
  const screen = await fitting(photograph.seen, SCREEN);
  opening = { photograph, answer, seen, screen };
  const { width, height } = photograph.own;
  return { width, height, before: image(screen) };
}

function opened(): Opening {
  if (!opening) throw new Error("A photograph should be open but none is; choose one.");
  return opening;
}

async function preview({ controls }: Asks["preview"]["ask"]): Promise<ImageData> {
  const { screen, answer, seen } = opened();
  return image(await result(screen, answer, seen, controls, apply));
}

async function save({ controls }: Asks["save"]["ask"]): Promise<Blob> {
  const { photograph, answer, seen } = opened();
  const own = photograph.own === photograph.seen ? seen : null; // of another profile, the network saw other codes
  return encoded(await result(photograph.own, answer, own, controls, apply), photograph.metadata);
}

function image({ data, width, height }: Pixels): ImageData {
  return new ImageData(data, width, height);
}
