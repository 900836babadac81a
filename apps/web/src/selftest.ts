/** The self-test of docs/self-test.md: pictures with known answers, and the verdict on whatever ran them. */
import { decodePng } from "./png";

/** selftest.json, as far as this page reads it. */
export interface Index {
  format_version: string;
  artifact: string;
  model: string;
  weights_sha256: string;
  precision: string;
  io: string;
  input_name: string;
  output_name: string;
  controls: boolean;
  thresholds: { psnr: number | null; max_code: number | null; bias: number | null };
  cases: Case[];
  batches: number[][];
}

export interface Case {
  name: string;
  height: number;
  width: number;
  strength: number;
  exposure: number;
  input: Picture;
  expected: Picture;
  /** Where the answer is a photograph changed by maps: what they are applied to. */
  photograph?: Picture;
}

interface Picture {
  png: string;
  rgb: string;
  sha256: string;
}

export interface Verdict {
  label: "measured";
  passed: boolean;
  runtime: string;
  device: string;
  precision: string;
  psnr_min: number | null;
  psnr_mean: number | null;
  max_code: number;
  share_over_1: number;
  bias_max: number;
  de_mean: null;
  de_p99: null;
  cases: number;
  worst: string;
  failures: string[];
}

/** N x 3 x H x W in [0, 1], shape and rows of controls (null without that input) -> the answer, of the same shape. */
export type Infer = (batch: Float32Array, shape: number[], controls: Float32Array | null) => Promise<Float32Array>;
export type Read = (name: string) => Promise<Uint8Array>;

interface Score {
  name: string;
  finite: boolean;
  psnr: number | null;
  max_code: number;
  share_over_1: number;
  bias_max: number;
}

export function parseIndex(text: string): Index {
  const index = JSON.parse(text) as Index;
  if (!/^1\./.test(index.format_version) || index.io !== "float32") {
    throw new Error(
      `The self-test should be of version 1 with float32 pictures but is of version ${index.format_version} ` +
        `with ${index.io}; export the model again without --io uint8.`,
    );
  }
  // The page applies maps by its own means, which it compares with each other (gpu.ts): here are the network's pictures
  const drawn = (batch: number[]) => batch.every((number) => !index.cases[number].photograph);
  return { ...index, batches: index.batches.filter(drawn) };
}

/** Run every batch. `about` names what ran, as the runtime reports it. */
export async function selfTest(
  index: Index,
  read: Read,
  infer: Infer,
  about: { runtime: string; device: string },
): Promise<Verdict> {
  const scores: Score[] = [];
  const failures: string[] = [];
  for (const batch of index.batches) {
    const cases = batch.map((number) => index.cases[number]);
    const pictures = await Promise.all(cases.map((each) => picture(each, each.input, read)));
    const { height, width } = cases[0];
    const controls = index.controls ? Float32Array.from(cases.flatMap((one) => [one.strength, one.exposure])) : null;
    const answers = await infer(toBatch(pictures, height * width), [batch.length, 3, height, width], controls);
    for (const [row, each] of cases.entries()) {
      const size = 3 * height * width;
      const name = `${each.name} at ${batch.length}x${height}x${width}`;
      const answer = answers.subarray(row * size, (row + 1) * size);
      const score = compare(name, answer, await picture(each, each.expected, read));
      scores.push(score);
      failures.push(...broken(score, index.thresholds).map((what) => `${name}: ${what}`));
    }
  }
  return { ...summary(scores, failures), label: "measured", precision: index.precision, ...about };
}

async function picture(of: Case, kind: Picture, read: Read): Promise<Uint8Array> {
  const rgb = kind.png.endsWith(".png") ? await decodePng(await read(kind.png)) : await read(kind.rgb);
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", rgb as BufferSource));
  const hex = Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== kind.sha256 || rgb.length !== 3 * of.height * of.width) {
    throw new Error(`${kind.png} should be the self-test's picture ${of.name} but is another; load the page again.`);
  }
  return rgb;
}

/** Pictures, H x W x 3 bytes each -> N x 3 x H x W in [0, 1]. */
export function toBatch(pictures: Uint8Array[], pixels: number): Float32Array {
  const batch = new Float32Array(pictures.length * 3 * pixels);
  pictures.forEach((rgb, row) => {
    for (let channel = 0; channel < 3; channel++) {
      const start = (3 * row + channel) * pixels;
      for (let i = 0; i < pixels; i++) batch[start + i] = rgb[3 * i + channel] / 255;
    }
  });
  return batch;
}

/** The 8-bit code of a value, floor(255 y + 0.5) in float32; NaN and infinity become 0. */
export function toCode(value: number): number {
  if (!Number.isFinite(value)) return 0;
  return Math.floor(Math.fround(Math.fround(255 * Math.min(Math.max(value, 0), 1)) + 0.5));
}

function compare(name: string, answer: Float32Array, expected: Uint8Array): Score {
  const pixels = expected.length / 3;
  const sums = [0, 0, 0];
  let squares = 0;
  let largest = 0;
  let over = 0;
  let finite = true;
  for (let i = 0; i < pixels; i++) {
    let worst = 0;
    for (let channel = 0; channel < 3; channel++) {
      const value = answer[channel * pixels + i];
      finite &&= Number.isFinite(value);
      const difference = toCode(value) - expected[3 * i + channel];
      sums[channel] += difference;
      squares += difference * difference;
      worst = Math.max(worst, Math.abs(difference));
    }
    largest = Math.max(largest, worst);
    over += Number(worst > 1);
  }
  const mse = squares / expected.length;
  return {
    name,
    finite,
    psnr: mse > 0 ? 10 * Math.log10(255 ** 2 / mse) : null,
    max_code: largest,
    share_over_1: over / pixels,
    bias_max: Math.max(...sums.map((sum) => Math.abs(sum / pixels))),
  };
}

/** A sentence for each limit that a picture breaks. */
function broken(score: Score, limits: Index["thresholds"]): string[] {
  const found = score.finite ? [] : ["NaN or infinity"];
  if (limits.psnr !== null && score.psnr !== null && score.psnr < limits.psnr) {
    found.push(`PSNR ${score.psnr.toFixed(1)} dB, below ${limits.psnr} dB`);
  }
  if (limits.max_code !== null && score.max_code > limits.max_code) {
    found.push(`largest difference ${score.max_code} of 255, above ${limits.max_code}`);
  }
  if (limits.bias !== null && score.bias_max > limits.bias) {
    found.push(`channel bias ${score.bias_max.toFixed(2)} codes, above ${limits.bias}`);
  }
  return found;
}

function summary(scores: Score[], failures: string[]) {
  const decibels = scores.flatMap((score) => (score.psnr === null ? [] : [score.psnr]));
  const rank = (score: Score) => (score.finite ? (score.psnr ?? Infinity) : -Infinity);
  return {
    passed: failures.length === 0,
    psnr_min: decibels.length ? Math.min(...decibels) : null,
    psnr_mean: decibels.length ? decibels.reduce((sum, each) => sum + each, 0) / decibels.length : null,
    max_code: Math.max(...scores.map((score) => score.max_code)),
    share_over_1: Math.max(...scores.map((score) => score.share_over_1)),
    bias_max: Math.max(...scores.map((score) => score.bias_max)),
    de_mean: null,
    de_p99: null,
    cases: scores.length,
    worst: scores.reduce((worst, each) => (rank(each) < rank(worst) ? each : worst)).name,
    failures,
  };
}
