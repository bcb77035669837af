/** What a Janus wrote down: its own files (MJR), taken apart into the frames of VP8 that a decoder would be given. */

import { readdirSync, readFileSync } from 'node:fs';

/** One frame as it went through the server. */
export interface RecordedFrame {
  readonly key: boolean;
  readonly bytes: Buffer;
}

/** The video frames of every recording in a folder. */
export function recordedVideo(folder: string): RecordedFrame[][] {
  const files = readdirSync(folder).filter((name) => name.endsWith('.mjr') && name.includes('video'));
  return files.map((name) => framesOf(packetsOf(readFileSync(`${folder}/${name}`))));
}

/** `MJR00002`, a header in JSON, then packets: `MEET`, milliseconds, length, RTP. */
function packetsOf(file: Buffer): Buffer[] {
  const packets: Buffer[] = [];
  for (let at = 10 + file.readUInt16BE(8); at + 10 <= file.length; ) {
    const length = file.readUInt16BE(at + 8);
    // The last one may not be written yet.
    if (at + 10 + length > file.length || length < 12) break;
    packets.push(file.subarray(at + 10, at + 10 + length));
    at += 10 + length;
  }
  return packets;
}

/** Frames of whole packets in order: the last of a frame has the marker bit (RFC 3550, RFC 7741). */
function framesOf(packets: readonly Buffer[]): RecordedFrame[] {
  const frames: RecordedFrame[] = [];
  let parts: Buffer[] = [];
  for (const packet of packets) {
    const payload = payloadOf(packet);
    const [first, second = 0] = payload;
    if (first === undefined) continue;
    let skip = 1;
    if (first & 0x80) {
      skip += 1;
      if (second & 0x80) skip += (payload[2] ?? 0) & 0x80 ? 2 : 1;
      if (second & 0x40) skip += 1;
      if (second & 0x30) skip += 1;
    }
    // The first packet of the first partition begins a frame.
    if (first & 0x10 && (first & 0x07) === 0) parts = [];
    parts.push(payload.subarray(skip));
    const isLast = ((packet[1] ?? 0) & 0x80) !== 0;
    if (!isLast) continue;
    const bytes = Buffer.concat(parts);
    if (bytes.length > 0) frames.push({ key: ((bytes[0] ?? 0) & 1) === 0, bytes });
    parts = [];
  }
  return frames;
}

function payloadOf(packet: Buffer): Buffer {
  const flags = packet[0] ?? 0;
  let start = 12 + 4 * (flags & 0x0f);
  if (flags & 0x10) start += 4 + 4 * packet.readUInt16BE(start + 2);
  const padding = flags & 0x20 ? (packet.at(-1) ?? 0) : 0;
  return packet.subarray(start, packet.length - padding);
}
