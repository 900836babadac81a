/** Strength and exposure: the formula of runtimes/controls.py. */

export interface Controls {
  /** Share of the network's change, from 0 (the photograph itself) to 1.5. */
  strength: number;
  /** Stops by which the result is made brighter, from -2 to 2. */
  exposure: number;
}

export const DEFAULT: Controls = { strength: 1, exposure: 0 };
const [SLOPE, OFFSET, GAMMA, KNEE] = [12.92, 0.055, 2.4, 0.04045]; // of sRGB's curve

/** Multiply the linear light of an sRGB code, which may exceed [0, 1], by 2^stops; codes below 0 become 0. */
export function exposed(code: number, stops: number): number {
  const y = Math.max(code, 0);
  if (stops === 0) return y;
  const gain = 2 ** stops;
  const root = gain ** (1 / GAMMA);
  const bright = root * y + OFFSET * (root - 1); // exact if both codes are above KNEE
  return Math.min(y, bright) > KNEE ? bright : toCode(gain * toLight(y));
}

/** The code, in [0, 1], of photograph x and enhanced e. */
export function adjusted(x: number, e: number, { strength, exposure }: Controls): number {
  const y = strength * e + (1 - strength) * x; // exact at 0 and at 1
  return Math.min(Math.max(exposed(y, exposure), 0), 1);
}

function toLight(code: number): number {
  return code > KNEE ? ((code + OFFSET) / (1 + OFFSET)) ** GAMMA : code / SLOPE;
}

function toCode(light: number): number {
  return light > KNEE / SLOPE ? (1 + OFFSET) * light ** (1 / GAMMA) - OFFSET : SLOPE * light;
}
