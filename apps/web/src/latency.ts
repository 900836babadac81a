/** Times of the network on this device, as a report that `bncagan compare` reads (docs/reports.md). */
import type { Engine } from "./engine";
import { toCode } from "./selftest";

const WARM_UP = 3;
const VERSION = "1.3"; // of benchmarks/report.py

export type Report = ReturnType<typeof reportOf>;

/** Measure `runs` calls on the largest square of the network: inference alone, and from bytes to bytes. */
export async function measured(engine: Engine, runs: number): Promise<Report> {
  const side = engine.model.side;
  const data = Uint8Array.from({ length: 3 * side * side }, (_, i) => (i * 7919) % 256);
  const picture = { data, width: side, height: side };
  const inference: number[] = [];
  const whole: number[] = [];
  const start = performance.now();
  for (let round = 0; round < WARM_UP + runs; round++) {
    const [began, before] = [performance.now(), performance.now()];
    const answer = await engine.answer(picture);
    const after = performance.now();
    for (let i = 0; i < data.length; i++) data[i] = toCode(answer.enhanced[i]);
    const ended = performance.now();
    if (round >= WARM_UP) {
      inference.push(nanoseconds(after - before));
      whole.push(nanoseconds(ended - began));
    }
  }
  return reportOf(engine, inference, whole, nanoseconds(performance.now() - start) + runs);
}

function nanoseconds(milliseconds: number): number {
  return Math.max(1, Math.round(1e6 * milliseconds));
}

function reportOf(engine: Engine, inference: number[], whole: number[], duration: number) {
  const { model, index, verdict, threads } = engine;
  const shape = [1, model.side, model.side];
  return {
    schema: "bncagan-latency",
    version: VERSION,
    created: new Date().toISOString(),
    environment: environment(engine),
    settings: {
      shapes: [shape],
      threads: threads === null ? [] : [threads],
      runs: inference.length,
      warmup: WARM_UP,
      seconds: null,
      picture: "synthetic",
      command: "the browser page",
    },
    quiet: { load_before: null, load_after: null, others_cores: null },
    duration_ns: duration,
    rows: [
      {
        subject: model.file,
        kind: "artifact",
        model: index.model,
        format: "onnx",
        io: index.io,
        precision: model.precision,
        ran: model.precision,
        weights_sha256: index.weights_sha256,
        runtime: verdict.runtime,
        device: verdict.device,
        threads,
        shape,
        size_bytes: model.bytes,
        sha256: model.sha256,
        load_ns: nanoseconds(engine.loadMs),
        first_ns: nanoseconds(engine.firstMs),
        inference_ns: inference,
        end_to_end_ns: whole,
        peak_memory_bytes: null,
        idle_cpu_share: 0,
        verdict,
        check: {
          reference: "golden pictures",
          pictures: verdict.cases,
          psnr_min: verdict.psnr_min,
          max_code: verdict.max_code,
          failures: verdict.failures,
        },
      },
    ],
    not_run: [],
    warnings: ["A browser does not tell how busy the machine was."],
  };
}

function environment(engine: Engine) {
  const { userAgent, hardwareConcurrency } = navigator;
  const memory = (navigator as { deviceMemory?: number }).deviceMemory;
  return {
    board: null,
    cpu: null,
    cores: hardwareConcurrency || 1,
    memory_bytes: memory ? memory * 2 ** 30 : null,
    gpus: engine.backend === "webgpu" ? [engine.verdict.device] : [],
    system: userAgent,
    power: {},
    python: "none: a browser",
    libraries: { "onnxruntime-web": engine.version.replace("onnxruntime-web ", "") },
    revision: null,
    variables: {},
  };
}
