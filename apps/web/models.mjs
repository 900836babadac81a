// Lists the models in public/models for the page, and leaves out the bare pictures of their self-tests, which PNG holds.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const folder = process.argv[2] ?? "public/models";
const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".onnx")) : [];
if (files.length === 0) {
  console.error(`${folder} should hold models but has none; run 'make web-models' in the repository`);
  process.exit(2);
}

function sha256(path) {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

const models = files.sort().map((file) => {
  const test = file.replace(/\.onnx$/, "");
  for (const name of readdirSync(join(folder, test))) if (name.endsWith(".rgb")) rmSync(join(folder, test, name));
  rmSync(join(folder, `${file}.golden.npz`), { force: true });
  const index = JSON.parse(readFileSync(join(folder, test, "selftest.json"), "utf8"));
  const [name] = test.split("-");
  const bytes = readFileSync(join(folder, file)).length;
  const side = index.shapes.maximum?.[1] ?? index.shapes.fixed[0][1];
  return { name, file, precision: index.precision, side, bytes, sha256: sha256(join(folder, file)), test };
});
writeFileSync(join(folder, "models.json"), JSON.stringify({ models }, null, 1) + "\n");
