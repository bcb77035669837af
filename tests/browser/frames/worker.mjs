/** Seals and opens frames of the sizes that it is told, in the core and in WebCrypto by turns. */

// Served beside this file.
import init, { Core } from './conclave_wasm.js';

/** Bytes of the frames of one round, and the most frames: enough for a clock that ticks in tenths of milliseconds. */
const ROUND = 1 << 20;
const MOST = 500;
const ROUNDS = 25;
const NOW = 1000;
const SEAT = 4;
/** What is authenticated beside a frame: as long as an SFrame header. */
const HEADER = Uint8Array.of(0x93, 1, 0x42, 7);

/** A device that is alone in a call and leads it, as the relay would tell it: it holds a key. */
function lead() {
  const core = new Core(JSON.stringify({ call: 'demo', user: 'alice', name: 'a browser', token: 'none' }));
  const at = (sequence) => ['A'.repeat(22), sequence];
  const received = (message) => JSON.parse(core.received(NOW, JSON.stringify(message)));
  received({ challenge: { versions: [1], nonce: 'A'.repeat(43), relay: 'A'.repeat(22) } });
  received({ welcome: { at: at(1), call: 'demo', seat: SEAT, joined: 9, lead: null, members: [], ice_servers: [] } });
  const sent = received({ lead: { at: at(2), term: 1, joined: 9, genesis: true } }).flatMap(({ send }) => (send ? [JSON.parse(send)] : []));
  const { epoch, add, remove, broadcast } = sent.find(({ commit }) => commit).commit;
  received({ commit: { at: at(3), from: 9, epoch, add, remove, broadcast } });
  return core;
}

/** Milliseconds that an action takes for each of some things. */
async function timed(things, action) {
  const done = [];
  const began = performance.now();
  for (const thing of things) {
    const result = action(thing);
    done.push(result instanceof Promise ? await result : result);
  }
  return [(performance.now() - began) / things.length, done];
}

/** Both ways through the core. */
async function wasmRound(core, frames) {
  const [seal, sealed] = await timed(frames, (frame) => core.seal('audio/opus', frame));
  const [open, opened] = await timed(sealed, (frame) => core.open(NOW, SEAT, 'audio/opus', frame, 0));
  if (opened.some((frame) => frame?.length !== frames[0].length)) throw new Error('not opened');
  return { seal, open };
}

/** Both ways through WebCrypto, with another nonce for each frame. */
async function cryptoRound(key, counters, frames) {
  const params = (counter) => {
    const iv = new Uint8Array(12);
    new DataView(iv.buffer).setUint32(8, counter);
    return { name: 'AES-GCM', iv, additionalData: HEADER };
  };
  const first = counters.next;
  const [encrypt, sealed] = await timed(frames, (frame) => {
    counters.next += 1;
    return crypto.subtle.encrypt(params(counters.next - 1), key, frame);
  });
  let counter = first;
  const [decrypt] = await timed(sealed, (frame) => {
    counter += 1;
    return crypto.subtle.decrypt(params(counter - 1), key, frame);
  });
  return { encrypt, decrypt };
}

/** Microseconds in the fastest round: what else the machine does falls on the others. */
function fastest(rounds, name) {
  return Math.min(...rounds.map((round) => round[name])) * 1000;
}

async function measured(core, key, counters, size) {
  const count = Math.max(4, Math.min(MOST, Math.floor(ROUND / size)));
  const frames = Array.from({ length: count }, () => new Uint8Array(size).fill(7));
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    rounds.push({ ...(await wasmRound(core, frames)), ...(await cryptoRound(key, counters, frames)) });
  }
  return { size, seal: fastest(rounds, 'seal'), open: fastest(rounds, 'open'), encrypt: fastest(rounds, 'encrypt'), decrypt: fastest(rounds, 'decrypt') };
}

self.addEventListener('message', async ({ data: sizes }) => {
  await init({ module_or_path: './conclave_wasm_bg.wasm' });
  const core = lead();
  const key = await crypto.subtle.importKey('raw', new Uint8Array(16).fill(7), 'AES-GCM', false, ['encrypt', 'decrypt']);
  const [rows, counters] = [[], { next: 0 }];
  for (const size of sizes) rows.push(await measured(core, key, counters, size));
  self.postMessage(rows);
});
