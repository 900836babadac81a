/** The network on the first backend that passes the self-test. */
import type { InferenceSession } from "onnxruntime-web";
import type { Change } from "./change";
import { library, threads, type Library } from "./ort";
import { parseIndex, selfTest, toBatch, type Index, type Verdict } from "./selftest";
import type { Rgb } from "./resample";

/** A row of models/models.json. */
export interface Model {
  name: string;
  file: string;
  precision: string;
  /** Longest side, in px, that the network takes. */
  side: number;
  bytes: number;
  sha256: string;
  /** Folder of the self-test. */
  test: string;
}

export type Backend = "webgpu" | "wasm";

export interface Candidate {
  backend: Backend;
  model: Model;
}

/** One backend that was tried: its verdict, or why it has none. */
export interface Tried {
  backend: string;
  file: string;
  verdict: Verdict | null;
  error: string | null;
}

export interface Answer {
  /** 3 x H x W in [0, 1]. */
  enhanced: Float32Array;
  change: Change;
}

export interface Engine {
  model: Model;
  index: Index;
  verdict: Verdict;
  /** What runs, for people: "WebGPU, fp16". */
  title: string;
  backend: Backend;
  threads: number | null;
  loadMs: number;
  firstMs: number;
  version: string;
  answer(picture: Rgb): Promise<Answer>;
}

/** What the device offers. */
export interface Device {
  adapter: GPUAdapter | null;
  half: boolean;
}

export async function describeDevice(): Promise<Device> {
  const adapter = (await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" })) ?? null;
  return { adapter, half: adapter?.features.has("shader-f16") ?? false };
}

/**
 * What to try, in order: WebGPU with half precision where the device has it, WebGPU, WebAssembly. An adapter that is a
 * program on the CPU is slower than WebAssembly, so it is only tried where it is asked for.
 */
export function candidates(models: Model[], name: string, device: Device, wanted: string | null): Candidate[] {
  const own = models.filter((model) => model.name === name);
  const [half, full] = ["fp16", "fp32"].map((precision) => own.find((model) => model.precision === precision));
  const found: Candidate[] = [];
  const real = device.adapter && (wanted === "webgpu" || !device.adapter.info.isFallbackAdapter);
  if (real && device.half && half) found.push({ backend: "webgpu", model: half });
  if (real && full) found.push({ backend: "webgpu", model: full });
  if (full ?? half) found.push({ backend: "wasm", model: (full ?? half)! });
  return wanted === "webgpu" || wanted === "wasm" ? found.filter(({ backend }) => backend === wanted) : found;
}

export interface Loader {
  model(model: Model): Promise<Uint8Array>;
  test(model: Model, name: string): Promise<Uint8Array>;
  say(what: string): void;
}

/** Open the first candidate that passes. Returns what was tried, too, and null if nothing passed. */
export async function openFirst(order: Candidate[], load: Loader, device: Device) {
  const tried: Tried[] = [];
  const ort = await library(order.some(({ backend }) => backend === "webgpu"));
  for (const candidate of order) {
    const title = titleOf(candidate);
    const row: Tried = { backend: title, file: candidate.model.file, verdict: null, error: null };
    tried.push(row);
    try {
      const engine = await open(ort, candidate, load, device);
      row.verdict = engine.verdict;
      if (engine.verdict.passed) return { engine, tried };
      await engine.close();
    } catch (error) {
      console.warn(`${title} cannot run ${candidate.model.file}:`, error);
      row.error = error instanceof Error ? error.message : String(error);
    }
  }
  return { engine: null, tried };
}

function titleOf({ backend, model }: Candidate): string {
  const count = threads();
  const where = backend === "webgpu" ? "WebGPU" : count > 1 ? `WebAssembly, ${count} threads` : "WebAssembly";
  return `${where}, ${model.precision}`;
}

async function open(ort: Library, candidate: Candidate, load: Loader, device: Device) {
  const { backend, model } = candidate;
  const title = titleOf(candidate);
  const bytes = await load.model(model);
  const index = parseIndex(new TextDecoder().decode(await load.test(model, "selftest.json")));
  load.say(`Starting ${title}`);
  const start = performance.now();
  const session = await ort.InferenceSession.create(bytes, {
    executionProviders: [backend],
    graphOptimizationLevel: "all",
  });
  const loadMs = performance.now() - start;
  const version = `onnxruntime-web ${ort.env.versions.web}`;
  let firstMs = 0;
  let done = 0;
  const infer = async (batch: Float32Array, shape: number[]) => {
    load.say(`Testing ${title}: ${++done} of ${index.batches.length}`);
    const began = performance.now();
    const answer = (await run(ort, session, index, batch, shape)).enhanced;
    firstMs ||= performance.now() - began;
    return answer;
  };
  const about = { runtime: version, device: deviceOf(backend, device) };
  const verdict = await selfTest(index, (name) => load.test(model, name), infer, about);
  return {
    model, index, verdict, title, backend, loadMs, firstMs, version,
    threads: backend === "wasm" ? threads() : null,
    answer: (picture: Rgb) =>
      run(ort, session, index, toBatch([picture.data], picture.width * picture.height), [1, 3, picture.height, picture.width]),
    close: () => session.release(),
  };
}

function deviceOf(backend: Backend, { adapter }: Device): string {
  if (backend === "wasm") return `WebAssembly on the CPU, ${threads()} threads`;
  const { vendor, architecture, description } = adapter!.info;
  return `WebGPU on ${[vendor, architecture, description].filter(Boolean).join(" ") || "a GPU that the browser does not name"}`;
}

/** The session's answer, copied: ONNX Runtime may use its memory again. */
async function run(ort: Library, session: InferenceSession, index: Index, batch: Float32Array, shape: number[]): Promise<Answer> {
  const outputs = await session.run({ [index.input_name]: new ort.Tensor("float32", batch, shape) });
  const [picture, tone, maps] = [outputs[index.output_name], outputs["tone"], outputs["maps"]];
  if (!picture || !tone) {
    throw new Error(`The model should return a picture and its change but does not; export it with --output both.`);
  }
  const values = maps && { values: maps.data as Float32Array, height: maps.dims[2], width: maps.dims[3] };
  const change = { tone: tone.data as Float32Array, maps: values ?? null };
  return { enhanced: picture.data as Float32Array, change };
}
