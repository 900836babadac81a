/** Metadata of a JPEG in the enhanced file. */
import { expect, test } from "vitest";
import { metadata, withMetadata, withoutProfile } from "../src/jpeg";

const ascii = (text: string) => [...Buffer.from(text, "latin1")];
const segment = (marker: number, payload: number[]) => {
  const size = payload.length + 2;
  return [0xff, marker, size >> 8, size & 255, ...payload];
};
const jpeg = (...segments: number[][]) => Uint8Array.from([0xff, 0xd8, ...segments.flat()]);
const SCAN = [0xff, 0xda, 0, 2, 1, 2, 3, 0xff, 0xd9];
const JFIF = segment(0xe0, [...ascii("JFIF\0"), 1, 1, 0, 0, 1, 0, 1, 0, 0]);
const profile = (space: string, name: string) =>
  segment(0xe2, [...ascii("ICC_PROFILE\0"), 1, 1, ...Array(16).fill(0), ...ascii(space), ...ascii(name)]);
const WIDE = profile("RGB ", "Display P3");

/** EXIF with orientation 6, a size, and a thumbnail of 4 bytes. */
function exif(order: "II" | "MM"): number[] {
  const little = order === "II";
  const block = Buffer.alloc(100);
  const u16 = (at: number, v: number) => (little ? block.writeUInt16LE(v, at) : block.writeUInt16BE(v, at));
  const u32 = (at: number, v: number) => (little ? block.writeUInt32LE(v, at) : block.writeUInt32BE(v, at));
  const entry = (at: number, tag: number, kind: number, value: number) => {
    u16(at, tag), u16(at + 2, kind), u32(at + 4, 1), (kind === 3 ? u16 : u32)(at + 8, value);
  };
  block.write(order, 0, "latin1"), u16(2, 42), u32(4, 8);
  u16(8, 2), entry(10, 0x0112, 3, 6), entry(22, 0x8769, 4, 38), u32(34, 62);
  u16(38, 1), entry(40, 0xa002, 4, 4000), u32(52, 0);
  u16(62, 2), entry(64, 0x0201, 4, 92), entry(76, 0x0202, 4, 4), u32(88, 0);
  block.write("old!", 92, "latin1");
  return [...block];
}

function kept(...segments: number[][]): Buffer {
  const encoded = jpeg(JFIF, segment(0xe1, ascii("not the photograph's")), SCAN);
  return Buffer.from(withMetadata(encoded, metadata(jpeg(...segments, SCAN)), 3000, 4000));
}

test.each(["II", "MM"] as const)("EXIF %s becomes upright, with the new size and no thumbnail", (order) => {
  const out = kept(segment(0xe1, [...ascii("Exif\0\0"), ...exif(order)]));
  const block = out.subarray(out.indexOf("Exif\0\0") + 6);
  const u16 = (at: number) => (order === "II" ? block.readUInt16LE(at) : block.readUInt16BE(at));
  const u32 = (at: number) => (order === "II" ? block.readUInt32LE(at) : block.readUInt32BE(at));
  expect([u16(18), u32(34), u32(48)]).toEqual([1, 0, 3000]);
  expect(out.includes("old!")).toBe(false);
  expect(out.includes("not the photograph's")).toBe(false);
});

test("a wide profile stays and is hidden from the decoder", () => {
  const file = jpeg(JFIF, WIDE, SCAN);
  expect(metadata(file).profile).toBe("own");
  expect(kept(WIDE).includes("Display P3")).toBe(true);
  expect(Buffer.from(withoutProfile(file)).equals(Buffer.from(jpeg(JFIF, SCAN)))).toBe(true);
});

test("sRGB stays; the profile of a converted picture goes", () => {
  expect(metadata(jpeg(profile("RGB ", "sRGB IEC61966-2.1"), SCAN)).profile).toBe("none");
  expect(kept(profile("RGB ", "sRGB IEC61966-2.1")).includes("sRGB IEC")).toBe(true);
  expect(kept(profile("CMYK", "Coated")).includes("Coated")).toBe(false);
});

test("XMP is turned; promises of a gain map go", () => {
  const xmp = (text: string) => segment(0xe1, [...ascii("http://ns.adobe.com/xap/1.0/\0"), ...ascii(text)]);
  expect(kept(xmp('<a tiff:Orientation="6" b="7"/>')).includes('tiff:Orientation="1" b="7"')).toBe(true);
  expect(kept(xmp("<a hdrgm:Version='1'/>")).includes("hdrgm")).toBe(false);
});

test("IPTC stays, its thumbnail goes", () => {
  const resource = (id: number, data: string) => [...ascii("8BIM"), id >> 8, id & 255, 0, 0, 0, 0, 0, data.length, ...ascii(data)];
  const out = kept(segment(0xed, [...ascii("Photoshop 3.0\0"), ...resource(0x040c, "thumb!"), ...resource(0x0404, "caption!")]));
  expect([out.includes("caption!"), out.includes("thumb!")]).toEqual([true, false]);
});

test("other files have no metadata, and damaged ones are read as far as they go", () => {
  expect(metadata(Uint8Array.from(ascii("\x89PNG"))).segments).toEqual([]);
  expect(metadata(Uint8Array.of(0xff, 0xd8, 0xff, 0xe1, 0xff)).segments).toEqual([]);
  const out = kept(segment(0xe1, [...ascii("Exif\0\0"), ...exif("II").slice(0, 30)]));
  expect(out.includes("Exif")).toBe(true);
});
