/** ONNX Runtime Web: one of two builds, fetched when it is needed. */
import type * as Ort from "onnxruntime-web";
import gpuGlue from "onnxruntime-web/ort-wasm-simd-threaded.asyncify.mjs?url";
import gpuWasm from "onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url";
import cpuGlue from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import cpuWasm from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";

export type Library = typeof Ort;
export const MOST_THREADS = 4; // more do not make this network faster

/** The build with WebGPU, which also runs on the CPU, or the smaller one for the CPU alone. */
export async function library(gpu: boolean): Promise<Library> {
  const ort: Library = gpu ? await import("onnxruntime-web/webgpu") : await import("onnxruntime-web/wasm");
  const [glue, wasm] = gpu ? [gpuGlue, gpuWasm] : [cpuGlue, cpuWasm];
  ort.env.wasm.wasmPaths = { mjs: new URL(glue, self.location.href).href, wasm: new URL(wasm, self.location.href).href };
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = threads();
  return ort;
}

/** How many threads WebAssembly may use: one, unless the page is isolated from other origins. */
export function threads(): number {
  return self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
}
