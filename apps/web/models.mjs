// Lists the models in public/models for the page, and leaves of their self-tests only the pictures that it compares with:
// PNG, not bare bytes, and none of those that maps have changed (src/selftest.ts).
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
  rmSync(join(folder, `${file}.golden.npz`), { force: true });
  const index = JSON.parse(readFileSync(join(folder, test, "selftest.json"), "utf8"));
  const drawn = index.cases.filter((each) => !each.photograph);
  const kept = new Set(["selftest.json", ...drawn.flatMap((each) => [each.input.png, each.expected.png])]);
  for (const name of readdirSync(join(folder, test))) if (!kept.has(name)) rmSync(join(folder, test, name));
  const [name] = test.split("-");
  const bytes = readFileSync(join(folder, file)).length;
  const side = index.shapes.maximum?.[1] ?? index.shapes.fixed[0][1];
  return { name, file, precision: index.precision, side, bytes, sha256: sha256(join(folder, file)), test };
});
writeFileSync(join(folder, "models.json"), JSON.stringify({ models }, null, 1) + "\n");
