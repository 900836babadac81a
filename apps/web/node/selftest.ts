/** The page's self-test on the command line: selftest.js MODEL FOLDER prints the verdict; the exit code is 0 or 1. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-web";
import { parseIndex, selfTest } from "../src/selftest";

const [model, folder] = process.argv.slice(2);
if (!model || !folder) {
  console.error("selftest.js should be given a model and its self-test folder; name both");
  process.exit(2);
}
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const session = await ort.InferenceSession.create(await readFile(model));
const index = parseIndex(await readFile(join(folder, "selftest.json"), "utf8"));
const infer = async (batch: Float32Array, shape: number[], controls: Float32Array | null) => {
  const feeds = { [index.input_name]: new ort.Tensor("float32", batch, shape) };
  if (controls) feeds["controls"] = new ort.Tensor("float32", controls, [shape[0], 2]);
  return (await session.run(feeds))[index.output_name].data as Float32Array;
};
const about = { runtime: `onnxruntime-web ${ort.env.versions.web}`, device: "WebAssembly on the CPU, 1 threads" };
const verdict = await selfTest(index, (name) => readFile(join(folder, name)), infer, about);
console.log(JSON.stringify(verdict, null, 2));
process.exit(verdict.passed ? 0 : 1);
