/**
 * A second implementation of the key schedule, the key ids and the frames, with the browser's own cryptography and
 * nothing of the Rust core: that both give what `shared/vectors` says is what makes the vectors worth something.
 */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

const vectors = (name: string): unknown => JSON.parse(readFileSync(new URL(`../../shared/vectors/${name}.json`, import.meta.url), 'utf8'));

const hex = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.from(text.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
const toHex = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
const ascii = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Big-endian bytes of a number. */
function big(value: number | bigint, length: number): Uint8Array<ArrayBuffer> {
  return hex(BigInt(value).toString(16).padStart(length * 2, '0'));
}

async function sha256(...parts: readonly Uint8Array[]): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', concat(...parts)));
}

async function hmac(key: Uint8Array<ArrayBuffer>, ...parts: readonly Uint8Array[]): Promise<Uint8Array<ArrayBuffer>> {
  const imported = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  return new Uint8Array(await crypto.subtle.sign('HMAC', imported, concat(...parts)));
}

/** RFC 5869 section 2.2. */
function extract(salt: Uint8Array<ArrayBuffer>, ikm: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  // HMAC pads a short key with zeros, so an absent salt is one zero byte.
  return hmac(salt.length === 0 ? new Uint8Array(1) : salt, ikm);
}

/** RFC 5869 section 2.3, for one block of output. */
async function expand(key: Uint8Array<ArrayBuffer>, length: number, ...info: readonly Uint8Array[]): Promise<Uint8Array<ArrayBuffer>> {
  return (await hmac(key, ...info, Uint8Array.of(1))).slice(0, length);
}

interface Schedule {
  readonly epochs: readonly {
    readonly acks: readonly { readonly joined: number; readonly mac: string }[];
    readonly authenticator: string;
    readonly fingerprint: string;
    readonly media: string;
    readonly ratchet: string;
    readonly secret: string;
    readonly senders: readonly { readonly ed25519: string; readonly message: string; readonly seat: number; readonly sender: string }[];
    readonly transcript: string;
  }[];
  readonly extend: readonly { readonly commit: string; readonly previous: string; readonly transcript: string }[];
  readonly genesis: readonly { readonly call: string; readonly first_lead: string; readonly instance: string; readonly transcript: string }[];
  readonly policy: string;
  readonly security_codes: readonly { readonly code: string; readonly instance: string; readonly keys: readonly string[] }[];
}

describe('key schedule', () => {
  const schedule = vectors('schedule') as Schedule;

  test.each(schedule.epochs.map((epoch, i) => ({ i, epoch })))('epoch $i', async ({ epoch }) => {
    const secret = await extract(hex(epoch.transcript), hex(epoch.ratchet));
    expect(toHex(secret)).toBe(epoch.secret);
    const media = await expand(secret, 32, ascii('conclave/1 media'));
    expect(toHex(media)).toBe(epoch.media);
    expect(toHex((await sha256(ascii('conclave/1 fingerprint'), media)).slice(0, 16))).toBe(epoch.fingerprint);
    for (const { seat, ed25519, sender, message } of epoch.senders) {
      const who = concat(big(seat, 2), hex(ed25519));
      expect(toHex(await expand(media, 16, ascii('conclave/1 sender'), who))).toBe(sender);
      expect(toHex(await expand(secret, 32, ascii('conclave/1 message'), who))).toBe(message);
    }
    const authenticator = await expand(secret, 32, ascii('conclave/1 authenticator'));
    expect(toHex(authenticator)).toBe(epoch.authenticator);
    for (const { joined, mac } of epoch.acks) expect(toHex(await hmac(authenticator, big(joined, 8)))).toBe(mac);
  });

  test('transcript', async () => {
    for (const { call, instance, first_lead: lead, transcript } of schedule.genesis) {
      expect(toHex(await sha256(ascii('conclave/1 genesis'), await sha256(ascii(call)), hex(instance), hex(lead)))).toBe(transcript);
    }
    for (const { previous, commit, transcript } of schedule.extend) {
      expect(toHex(await sha256(ascii('conclave/1 transcript'), hex(previous), await sha256(ascii(commit))))).toBe(transcript);
    }
  });

  test('policy', async () => {
    const policy = await sha256(ascii('conclave/1 policy'), ascii('{"suite":"AES_128_GCM_SHA256_128"}'));
    expect(toHex(policy)).toBe(schedule.policy);
  });

  test('security code', async () => {
    for (const { instance, keys, code } of schedule.security_codes) {
      const hash = await sha256(ascii('conclave/1 code'), hex(instance), ...keys.toSorted().map(hex));
      const groups = Array.from({ length: 6 }, (_, i) => BigInt(`0x${toHex(hash.slice(i * 5, i * 5 + 5))}`) % 100_000n);
      expect(groups.map((group) => group.toString().padStart(5, '0')).join(' ')).toBe(code);
    }
  });
});

/** `seat << 8 | (term & 3) << 6 | (count & 63)`. */
function keyId(seat: number, term: number, count: number): bigint {
  return (BigInt(seat) << 8n) | (BigInt(term & 3) << 6n) | BigInt(count & 63);
}

/** RFC 9605 section 4.3: a config byte, then whatever of key id and counter does not fit into three bits. */
function header(kid: bigint, counter: bigint): Uint8Array<ArrayBuffer> {
  const bytes = (value: bigint): Uint8Array<ArrayBuffer> => big(value, Math.ceil(value.toString(16).length / 2));
  const part = (value: bigint): { bits: number; rest: Uint8Array<ArrayBuffer> } =>
    value < 8n ? { bits: Number(value), rest: new Uint8Array() } : { bits: 8 | (bytes(value).length - 1), rest: bytes(value) };
  const [k, c] = [part(kid), part(counter)];
  return concat(Uint8Array.of((k.bits << 4) | c.bits), k.rest, c.rest);
}

interface Cipher {
  readonly key: CryptoKey;
  readonly nonce: Uint8Array<ArrayBuffer>;
}

/** RFC 9605 section 4.4, suite AES_128_GCM_SHA256_128. */
async function cipherOf(baseKey: Uint8Array<ArrayBuffer>, kid: bigint, counter: bigint): Promise<Cipher> {
  const secret = await extract(new Uint8Array(), baseKey);
  const suite = concat(big(kid, 8), big(4, 2));
  const key = await expand(secret, 16, ascii('SFrame 1.0 Secret key '), suite);
  const salt = await expand(secret, 12, ascii('SFrame 1.0 Secret salt '), suite);
  const nonce = salt.map((byte, i) => byte ^ (big(counter, 12)[i] ?? 0));
  return { key: await crypto.subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt']), nonce };
}

describe('key ids', () => {
  interface KidVector {
    readonly seat: number;
    readonly term: number;
    readonly count: number;
    readonly counter: number;
    readonly kid: number;
    readonly header: string;
  }
  test.each(vectors('kid') as KidVector[])('seat $seat term $term count $count', ({ seat, term, count, counter, kid, header: text }) => {
    expect(keyId(seat, term, count)).toBe(BigInt(kid));
    expect(toHex(header(BigInt(kid), BigInt(counter)))).toBe(text);
  });
});

describe('frames', () => {
  interface FrameVector {
    readonly base_key: string;
    readonly codec: string;
    readonly counter: number;
    readonly ed25519: string;
    readonly epoch: readonly [number, number];
    readonly media: string;
    /** What comes out again: long start codes in H.264, whatever went in. */
    readonly opened: string;
    readonly plain: string;
    readonly sealed: string;
    readonly seat: number;
  }
  const frames = vectors('frame') as FrameVector[];

  /** What stays readable of a frame, and what is encrypted. */
  function cut(codec: string, plain: Uint8Array<ArrayBuffer>): [clear: Uint8Array<ArrayBuffer>, secret: Uint8Array<ArrayBuffer>] {
    const [first = 0, second = 0] = plain;
    const at = (place: number): [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>] => [plain.slice(0, place), plain.slice(place)];
    switch (codec) {
      case 'video/VP8':
        return at((first & 1) === 0 ? 10 : 3);
      case 'video/AV1': {
        // The first OBU behind an empty temporal delimiter is a sequence header on key frames.
        const obu = first === 0x12 && second === 0 ? (plain[2] ?? 0) : first;
        return [Uint8Array.of(((obu >> 3) & 15) === 1 ? 0x08 : 0x30), plain];
      }
      case 'video/H264':
        return at(firstSliceEnds(plain));
      default:
        return at(0);
    }
  }

  /** Behind the byte in which the third number of the first slice header ends; the vectors have no escapes before it. */
  function firstSliceEnds(unit: Uint8Array): number {
    let place = 0;
    for (;;) {
      if (unit[place] === 0 && unit[place + 1] === 0 && unit[place + 2] === 1) {
        const type = (unit[place + 3] ?? 0) & 31;
        if (type === 1 || type === 5) break;
      }
      place += 1;
    }
    const bits = Array.from(unit.slice(place + 4), (byte) => byte.toString(2).padStart(8, '0')).join('');
    // An Exp-Golomb number: as many bits behind its first 1 as zeros before it.
    const numbers = /^(?:(?:1|01.|001..|0001...|00001....|0{15}1.{15})){3}/.exec(bits);
    return place + 4 + Math.ceil((numbers?.[0].length ?? 0) / 8);
  }

  /** Start codes of four bytes before clear NAL units; 3 before each byte up to 3 behind two zeros of the rest. */
  function wrap(codec: string, clear: Uint8Array, sframe: Uint8Array): Uint8Array {
    if (codec !== 'video/H264') return concat(clear, sframe);
    const out: number[] = [...clear];
    let zeros = /0*$/.exec(out.map((byte) => (byte === 0 ? '0' : 'x')).join(''))?.[0].length ?? 0;
    for (const byte of [...sframe, 0x80]) {
      if (zeros >= 2 && byte <= 3) {
        out.push(3);
        zeros = 0;
      }
      out.push(byte);
      zeros = byte === 0 ? zeros + 1 : 0;
    }
    return Uint8Array.from(out);
  }

  test.each(frames.map((frame, i) => ({ i, ...frame })))('frame $i of $codec', async (frame) => {
    const baseKey = await expand(hex(frame.media), 16, ascii('conclave/1 sender'), big(frame.seat, 2), hex(frame.ed25519));
    expect(toHex(baseKey)).toBe(frame.base_key);
    const [clear, secret] = cut(frame.codec, hex(frame.opened));
    const kid = keyId(frame.seat, ...frame.epoch);
    const head = header(kid, BigInt(frame.counter));
    const { key, nonce } = await cipherOf(baseKey, kid, BigInt(frame.counter));
    const params = { name: 'AES-GCM', iv: nonce, additionalData: concat(head, clear) };
    const body = await crypto.subtle.encrypt(params, key, secret);
    expect(toHex(wrap(frame.codec, clear, concat(head, new Uint8Array(body))))).toBe(frame.sealed);
  });

  test('a changed clear byte makes a frame fail', async () => {
    const frame = frames.find(({ codec }) => codec === 'video/VP8');
    if (!frame) throw new Error('no VP8 vector');
    const sealed = hex(frame.sealed);
    const kid = keyId(frame.seat, ...frame.epoch);
    const head = header(kid, BigInt(frame.counter));
    const { key, nonce } = await cipherOf(hex(frame.base_key), kid, BigInt(frame.counter));
    const clear = sealed.slice(0, 10);
    const open = (aad: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> =>
      crypto.subtle.decrypt({ name: 'AES-GCM', iv: nonce, additionalData: concat(head, aad) }, key, sealed.slice(10 + head.length));
    expect(toHex(new Uint8Array(await open(clear)))).toBe(frame.plain.slice(20));
    await expect(open(clear.map((byte, i) => (i === 9 ? byte ^ 1 : byte)))).rejects.toThrow();
  });
});
