/** Photographs in and out, by the browser's own decoders and encoder. */
import type { Pixels } from "./change";
import { isJpeg, metadata, withMetadata, withoutProfile, type Metadata } from "./jpeg";

const QUALITY = 0.95;
const WHITE = "#fff"; // behind transparent pictures

export interface Photograph {
  name: string;
  /** Upright pixels, in the colours of the file's own profile. */
  own: Pixels;
  /** The same in sRGB, for the network and the screen. */
  seen: Pixels;
  metadata: Metadata;
}

/** Read a photograph. Errors: a sentence for people. */
export async function read(file: Blob, name: string): Promise<Photograph> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const kept = metadata(bytes);
  const seen = await decoded(file, name);
  if (kept.profile !== "own" || !isJpeg(bytes)) return { name, own: seen, seen, metadata: kept };
  const own = await decoded(new Blob([withoutProfile(bytes)], { type: "image/jpeg" }), name);
  return { name, own, seen, metadata: kept };
}

async function decoded(file: Blob, name: string): Promise<Pixels> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error(`${name} should be a photograph but this browser cannot read it; try a JPEG or a PNG.`);
  }
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error(`${name} is too large for this browser: ${width} × ${height}; reduce it first.`);
  context.fillStyle = WHITE;
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  if (Math.min(width, height) < 8) throw new Error(`${name} should have sides from 8 px but is ${width} × ${height}.`);
  return { data: context.getImageData(0, 0, width, height).data, width, height };
}

/** A copy whose longer side is at most `side` px, for the screen; the pixels themselves where they fit. */
export async function fitting(photograph: Pixels, side: number): Promise<Pixels> {
  const { width, height } = photograph;
  const scale = side / Math.max(width, height);
  if (scale >= 1) return photograph;
  const [resizeWidth, resizeHeight] = [Math.round(width * scale), Math.round(height * scale)];
  const image = new ImageData(photograph.data, width, height);
  const bitmap = await createImageBitmap(image, { resizeWidth, resizeHeight, resizeQuality: "high" });
  const context = new OffscreenCanvas(resizeWidth, resizeHeight).getContext("2d")!;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { data: context.getImageData(0, 0, resizeWidth, resizeHeight).data, width: resizeWidth, height: resizeHeight };
}

/** A JPEG with the photograph's metadata. */
export async function encoded(pixels: Pixels, kept: Metadata): Promise<Blob> {
  const { width, height, data } = pixels;
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d")!.putImageData(new ImageData(data, width, height), 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
  const bytes = withMetadata(new Uint8Array(await blob.arrayBuffer()), kept, width, height);
  return new Blob([bytes], { type: "image/jpeg" });
}
