/** Contrast of the page's colours: WCAG 2.2, 4.5 for text. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";

const style = readFileSync(new URL("../src/style.css", import.meta.url), "utf8");
const themes = [...style.matchAll(/:root \{([^}]*)\}/g)].map(
  ([, body]) => new Map([...body.matchAll(/--([\w-]+): (#[0-9a-f]{6})/g)].map(([, name, value]) => [name, value])),
);
const PAIRS = [
  ["text", "back"], ["text", "card"], ["quiet", "card"], ["quiet", "back"], ["accent", "card"],
  ["on-accent", "accent"], ["good", "good-back"], ["bad", "bad-back"], ["bad", "back"],
];

function luminance(colour: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const code = parseInt(colour.slice(at, at + 2), 16) / 255;
    return code <= 0.04045 ? code / 12.92 : ((code + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

describe.each([["light", 0], ["dark", 1]] as const)("%s", (_, number) => {
  test.each(PAIRS)("%s on %s", (front, back) => {
    const [one, two] = [front, back].map((name) => luminance(themes[number].get(name)!));
    expect((Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05)).toBeGreaterThanOrEqual(4.5);
  });
});
