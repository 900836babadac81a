/** The verdict, by planted faults in a model that is a function. */
import { createHash } from "node:crypto";
import { deflateSync } from "node:zlib";
import { expect, test } from "vitest";
import { decodePng } from "../src/png";
import { parseIndex, selfTest, type Index, type Infer } from "../src/selftest";

const [HEIGHT, WIDTH] = [5, 7];
const pictures = [0, 1].map((seed) =>
  Uint8Array.from({ length: 3 * HEIGHT * WIDTH }, (_, i) => ((i + 3) * (seed + 11) * 37) % 200),
);
const files = new Map<string, Uint8Array>();
const named = (kind: string, n: number, rgb: Uint8Array) => {
  files.set(`${n}.${kind}.png`, png(rgb, n));
  const sha256 = createHash("sha256").update(rgb).digest("hex");
  return { png: `${n}.${kind}.png`, rgb: `${n}.${kind}.rgb`, sha256 };
};
const index: Index = {
  format_version: "1.0",
  artifact: "m.onnx",
  model: "m",
  weights_sha256: "0",
  precision: "fp32",
  io: "float32",
  input_name: "image",
  output_name: "enhanced",
  controls: false,
  thresholds: { psnr: 60, max_code: 1, bias: 0.05 },
  cases: pictures.map((rgb, n) => ({
    name: ["hill", "sea"][n], height: HEIGHT, width: WIDTH, strength: 1, exposure: 0,
    input: named("input", n, rgb),
    expected: named("expected", n, rgb.map((code) => code + 20)),
  })),
  batches: [[0], [1], [0, 1], [1, 1]],
};
const read = (name: string) => Promise.resolve(files.get(name)!);
const good: Infer = (batch) => Promise.resolve(batch.map((value) => value + 20 / 255));
const about = { runtime: "test", device: "test" };

/** An 8-bit RGB PNG whose rows use every filter in turn. */
function png(rgb: Uint8Array, first: number): Uint8Array {
  const stride = 3 * WIDTH;
  const rows = Buffer.alloc(HEIGHT * (stride + 1));
  const at = (y: number, x: number) => (y < 0 || x < 0 ? 0 : rgb[y * stride + x]);
  for (let y = 0; y < HEIGHT; y++) {
    const filter = (y + first) % 5;
    rows[y * (stride + 1)] = filter;
    for (let x = 0; x < stride; x++) {
      const [left, above, corner] = [at(y, x - 3), at(y - 1, x), at(y - 1, x - 3)];
      const p = left + above - corner;
      const near = [left, above, corner].sort((a, b) => Math.abs(p - a) - Math.abs(p - b))[0];
      const guess = [0, left, above, (left + above) >> 1, near][filter];
      rows[y * (stride + 1) + 1 + x] = at(y, x) - guess;
    }
  }
  const chunk = (name: string, data: Buffer) => {
    const size = Buffer.alloc(4);
    size.writeUInt32BE(data.length);
    return Buffer.concat([size, Buffer.from(name, "latin1"), data, Buffer.alloc(4)]);
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(WIDTH, 0);
  head.writeUInt32BE(HEIGHT, 4);
  head.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([Buffer.alloc(8), chunk("IHDR", head), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.alloc(0))]);
}

test("PNG is decoded, whatever the filters", async () => {
  for (const [n, rgb] of pictures.entries()) expect(await decodePng(files.get(`${n}.input.png`)!)).toEqual(rgb);
});

test("a good model passes", async () => {
  const verdict = await selfTest(index, read, good, about);
  expect(verdict).toMatchObject({ passed: true, cases: 6, psnr_min: null, max_code: 0, bias_max: 0, failures: [] });
});

const faults: Record<string, Infer> = {
  darker: async (...asked) => (await good(...asked)).map((value) => 0.97 * value),
  NaN: async (...asked) => (await good(...asked)).map((value, i) => (i === 7 ? NaN : value)),
  zeros: async (batch) => batch.map(() => 0),
  "equal rows": async (batch, shape) => {
    const size = 3 * HEIGHT * WIDTH;
    const same = shape[0] === 2 && batch.subarray(0, size).every((value, i) => value === batch[size + i]);
    return batch.map((value, i) => value + 20 / 255 + (same && i >= size ? 0.1 : 0));
  },
};
test.each(Object.keys(faults))("%s fails, and names the picture", async (fault) => {
  const verdict = await selfTest(index, read, faults[fault], about);
  expect(verdict.passed).toBe(false);
  expect(verdict.failures[0]).toMatch(/^(hill|sea) at [12]x5x7: /);
  expect(verdict.worst).toMatch(/^(hill|sea) at /);
  if (fault === "NaN") expect(verdict.failures[0]).toContain("NaN or infinity");
});

test("the numbers are those of the definition", async () => {
  const off: Infer = async (...asked) => (await good(...asked)).map((value, i) => (i === 0 ? value + 3 / 255 : value));
  const { psnr_min, max_code, bias_max, share_over_1 } = await selfTest({ ...index, batches: [[0]] }, read, off, about);
  const pixels = HEIGHT * WIDTH;
  expect(psnr_min).toBeCloseTo(10 * Math.log10(255 ** 2 / (9 / (3 * pixels))), 9);
  expect([max_code, share_over_1]).toEqual([3, 1 / pixels]);
  expect(bias_max).toBeCloseTo(3 / pixels, 9);
});

test("another picture under the same name is refused", async () => {
  const swapped = (name: string) => read(name.replace("0.input", "1.input"));
  await expect(selfTest(index, swapped, good, about)).rejects.toThrow("should be the self-test's picture hill");
});

test("a folder of a later major version is refused", () => {
  expect(() => parseIndex(JSON.stringify({ ...index, format_version: "2.0" }))).toThrow("version 2.0");
  expect(parseIndex(JSON.stringify({ ...index, format_version: "1.7" })).artifact).toBe("m.onnx");
});
