/** The page's formulas against numbers of the Python ones (oracle.py). */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { applied, type Pixels } from "../src/change";
import { adjusted } from "../src/controls";
import { padded, reduced } from "../src/resample";

interface Oracle {
  photograph: number[];
  size: [number, number];
  tone: number[];
  maps: number[];
  maps_size: [number, number];
  settings: [number, number][];
  changed: number[][];
  toned: number[];
  x: number[];
  e: number[];
  adjusted: number[][];
  large: number[];
  large_size: [number, number];
  reduced: [number, number, number[]][];
}
const oracle: Oracle = JSON.parse(readFileSync(new URL("oracle.json", import.meta.url), "utf8"));

function pixels(rgb: number[], [height, width]: [number, number]): Pixels {
  const data = new Uint8ClampedArray(4 * width * height).fill(255);
  rgb.forEach((code, i) => (data[4 * Math.floor(i / 3) + (i % 3)] = code));
  return { data, width, height };
}

function rgb({ data }: Pixels): number[] {
  return [...data].filter((_, i) => i % 4 !== 3);
}

function furthest(one: ArrayLike<number>, other: ArrayLike<number>): number {
  expect(one.length).toBe(other.length);
  return Math.max(...Array.from(one, (value, i) => Math.abs(value - other[i])));
}

const [height, width] = oracle.maps_size;
const tone = Float32Array.from(oracle.tone);
const change = { tone, maps: { values: Float32Array.from(oracle.maps), width, height } };
const photograph = pixels(oracle.photograph, oracle.size);

describe.each(oracle.settings.map(([strength, exposure], i) => [strength, exposure, i] as const))(
  "strength %f, exposure %f",
  (strength, exposure, i) => {
    test("a change draws the oracle's picture", () => {
      const ours = rgb(applied(photograph, change, { strength, exposure }));
      expect(furthest(ours, oracle.changed[i])).toBeLessThanOrEqual(1);
      expect(ours.filter((code, k) => code !== oracle.changed[i][k]).length).toBeLessThan(5); // rounding of halves
    });

    test("the controls are those of Python", () => {
      const ours = oracle.x.map((x, k) => adjusted(x, oracle.e[k], { strength, exposure }));
      expect(furthest(ours, oracle.adjusted[i])).toBeLessThan(2e-6);
    });
  },
);

test("a change without maps is the curve alone", () => {
  const ours = rgb(applied(photograph, { tone, maps: null }, { strength: 1, exposure: 0 }));
  expect(furthest(ours, oracle.toned)).toBeLessThanOrEqual(1);
});

test.each(oracle.reduced)("a copy of %i x %i is Pillow's", (h, w, expected) => {
  const ours = reduced(pixels(oracle.large, oracle.large_size), w, h);
  expect([ours.height, ours.width]).toEqual([h, w]);
  expect(furthest(ours.data, expected)).toBeLessThanOrEqual(1);
});

test("padding reflects", () => {
  const picture = { data: Uint8Array.from([1, 2, 3, 4, 5, 6].flatMap((v) => [v, v, v])), width: 3, height: 2 };
  const { data, ...size } = padded(picture, 4);
  expect(size).toEqual({ width: 4, height: 4 });
  // the second row is the last, so the rows below it are the first again, and none
  expect(Array.from(data).filter((_, i) => i % 3 === 0).slice(0, 12)).toEqual([1, 2, 3, 2, 4, 5, 6, 5, 1, 2, 3, 2]);
});
