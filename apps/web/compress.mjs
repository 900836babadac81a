// Writes NAME.br beside each file of the built page that becomes smaller: `bncagan serve` and many hosts send these.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";

const KINDS = /\.(html|js|mjs|css|json|wasm|onnx|svg|webmanifest)$/;
const options = { params: { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_LGWIN]: 24 } };
for (const file of readdirSync("dist", { recursive: true, withFileTypes: true })) {
  if (!file.isFile() || !KINDS.test(file.name)) continue;
  const path = join(file.parentPath, file.name);
  const bytes = readFileSync(path);
  const small = brotliCompressSync(bytes, options);
  if (small.length < 0.9 * bytes.length) writeFileSync(`${path}.br`, small);
}
