/** JPEG as segments: the metadata of the photograph is put into the enhanced file. */
import { upright } from "./exif";

const [APP0, APP1, APP2, APP13, APP14, COMMENT] = [0xe0, 0xe1, 0xe2, 0xed, 0xee, 0xfe];
const [SCAN, END] = [0xda, 0xd9];
const EXIF = "Exif\0\0";
const ICC = "ICC_PROFILE\0";
const XMP = "http://ns.adobe.com/xap/1.0/\0";
const IRB = "Photoshop 3.0\0";

interface Segment {
  marker: number;
  payload: Uint8Array;
}

/** What the page keeps of a JPEG besides its picture. */
export interface Metadata {
  segments: Segment[];
  profile: Profile;
}

/** none: sRGB, or no profile; own: another RGB profile, which stays; other: grey or CMYK, which the browser converts. */
export type Profile = "none" | "own" | "other";

export function isJpeg(file: Uint8Array): boolean {
  return file[0] === 0xff && file[1] === 0xd8;
}

/** The metadata of a JPEG, true for an upright picture of this size; nothing for another file. */
export function metadata(file: Uint8Array): Metadata {
  const segments = isJpeg(file) ? walk(file).head.filter((segment) => segment.marker !== APP0) : [];
  return { segments, profile: profileOf(segments) };
}

/** The file without its profile, so that every browser decodes the photograph's own codes. */
export function withoutProfile(file: Uint8Array): Uint8Array<ArrayBuffer> {
  const { head, rest } = walk(file);
  return joined(head.filter((segment) => !starts(segment, ICC)), rest);
}

/** The encoded picture, width x height px, with the photograph's metadata. */
export function withMetadata(encoded: Uint8Array, kept: Metadata, width: number, height: number): Uint8Array<ArrayBuffer> {
  const { head, rest } = walk(encoded);
  const own = head.filter(({ marker }) => marker === APP0 || marker === APP14);
  const segments = kept.segments.flatMap((segment) => changed(segment, kept.profile, width, height));
  return joined([...own, ...segments], rest);
}

function changed(segment: Segment, profile: Profile, width: number, height: number): Segment[] {
  const { marker, payload } = segment;
  if (marker === COMMENT) return [segment];
  if (starts(segment, ICC)) return profile === "other" ? [] : [segment];
  if (starts(segment, EXIF)) return [{ marker, payload: joinedBytes(latin(EXIF), upright(payload.subarray(6), width, height)) }];
  if (starts(segment, XMP)) return packet(payload);
  // Photoshop's resources hold IPTC, which stays; a thumbnail in them would show the old picture
  if (marker === APP13 && starts(segment, IRB)) return [{ marker, payload: withoutThumbnails(payload) }];
  return []; // indices of further pictures (MPF), content credentials, and what only its maker can read
}

/** XMP of the upright picture. A packet that promises a gain map, which the result does not have, is left out. */
function packet(payload: Uint8Array): Segment[] {
  const text = Array.from(payload, (byte) => String.fromCharCode(byte)).join("");
  if (/Container:Directory|hdrgm:|GImage:|GCamera:MotionPhoto/.test(text)) return [];
  const turned = text.replace(/(tiff:Orientation(?:="|='|>))[2-8]/g, "$11");
  return [{ marker: APP1, payload: latin(turned) }];
}

function withoutThumbnails(payload: Uint8Array): Uint8Array {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const kept = [payload.subarray(0, IRB.length)];
  for (let place = IRB.length; place + 12 <= payload.length; ) {
    const sizeAt = place + 6 + ((payload[place + 6] + 2) >> 1) * 2; // a name of even length with its own length
    if (sizeAt + 4 > payload.length) break;
    const size = view.getUint32(sizeAt);
    const end = sizeAt + 4 + size + (size % 2);
    if (![0x0409, 0x040c].includes(view.getUint16(place + 4))) kept.push(payload.subarray(place, end));
    place = end;
  }
  return joinedBytes(...kept);
}

function profileOf(segments: Segment[]): Profile {
  const first = segments.find((segment) => starts(segment, ICC));
  if (!first) return "none";
  const profile = first.payload.subarray(ICC.length + 2);
  if (text(profile.subarray(16, 20)) !== "RGB ") return "other";
  const said = text(profile).replaceAll("\0", "");
  return /sRGB/.test(said) ? "none" : "own";
}

/** The segments before the picture, and everything from there to the picture's end; what follows is left out. */
function walk(file: Uint8Array): { head: Segment[]; rest: Uint8Array[] } {
  const head: Segment[] = [];
  const rest: Uint8Array[] = [];
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let place = 2;
  while (place + 4 <= file.length && file[place] === 0xff) {
    const marker = file[place + 1];
    if (marker === 0xff) {
      place += 1;
      continue;
    }
    if (marker === SCAN) {
      rest.push(file.subarray(place));
      break;
    }
    if (marker === END) break;
    const end = place + 2 + view.getUint16(place + 2);
    const known = (marker >= APP0 && marker <= 0xef) || marker === COMMENT;
    if (known) head.push({ marker, payload: file.subarray(place + 4, end) });
    else rest.push(file.subarray(place, end));
    place = end;
  }
  return { head, rest };
}

function joined(head: Segment[], rest: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const written = head
    .filter(({ payload }) => payload.length <= 65533)
    .map(({ marker, payload }) => {
      const size = payload.length + 2;
      return joinedBytes(Uint8Array.of(0xff, marker, size >> 8, size & 255), payload);
    });
  return joinedBytes(Uint8Array.of(0xff, 0xd8), ...written, ...rest);
}

function joinedBytes(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

function starts({ marker, payload }: Segment, prefix: string): boolean {
  const marked = { [EXIF]: APP1, [XMP]: APP1, [ICC]: APP2, [IRB]: APP13 }[prefix];
  return marker === marked && text(payload.subarray(0, prefix.length)) === prefix;
}

function text(bytes: Uint8Array): string {
  return new TextDecoder("latin1").decode(bytes);
}

function latin(text: string): Uint8Array {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}
