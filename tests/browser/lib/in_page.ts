/** What runs inside the page of a person, whichever browser it is, and what comes of it. Each function stands for itself: it travels as text. */

/** What a page shows of one person. */
export interface Row {
  readonly joined: number;
  readonly opened: number;
  readonly undecryptable: number;
  readonly keyless: number;
  readonly presence: string;
}

/** What WebRTC counted. */
export interface Counted {
  readonly decoded: number;
  readonly sent: number;
  /** Samples of sound that came of frames, not of concealment. */
  readonly heard: number;
  /** How often a picture stood still for long, as Chromium judges it. */
  readonly freezes: number;
}

/** What no key opened. */
export interface Refused {
  /** Did not open under the key that they name. */
  readonly undecryptable: number;
  /** Their key did not come in time. */
  readonly keyless: number;
}

declare global {
  interface Window {
    /** By order number: what the page says of frames. */
    refused: Map<string, Refused>;
    counted: Map<RTCPeerConnection, Counted>;
    countConnections(): Promise<void>;
    /** By name of the person: how long their picture stood still at most, and when it last moved. */
    pictures: Map<string, { still: number; shown: number; last: number }>;
  }
}

/** Runs in the page: each picture that is shown is noted. */
export function watchPictures(names: readonly string[]): void {
  window.pictures = new Map();
  for (const tile of document.querySelectorAll('.tile')) {
    const name = tile.querySelector('.tile-user')?.textContent ?? '';
    const video = tile.querySelector('video');
    if (!video || !names.includes(name)) continue;
    const seen = { still: 0, shown: 0, last: performance.now() };
    window.pictures.set(name, seen);
    const shown = (now: number): void => {
      seen.still = Math.max(seen.still, now - seen.last);
      seen.last = now;
      seen.shown += 1;
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
  }
}

/**
 * Runs in the page before anything else: keeps every connection and what it counted last, for a closed connection
 * tells nothing any more.
 */
export function rememberConnections(): void {
  window.counted = new Map();
  window.refused = new Map();
  window.countConnections = async () => {
    for (const { dataset } of document.querySelectorAll<HTMLElement>('.person')) {
      const { joined = '', undecryptable, keyless } = dataset;
      window.refused.set(joined, { undecryptable: Number(undecryptable), keyless: Number(keyless) });
    }
    for (const connection of window.counted.keys()) {
      if (connection.signalingState === 'closed') continue;
      let [decoded, sent, heard, freezes] = [0, 0, 0, 0];
      for (const entry of (await connection.getStats()).values()) {
        if (entry.type === 'inbound-rtp') decoded += entry.framesDecoded ?? 0;
        if (entry.type === 'inbound-rtp') freezes += entry.freezeCount ?? 0;
        if (entry.type === 'inbound-rtp') heard += (entry.totalSamplesReceived ?? 0) - (entry.concealedSamples ?? 0);
        if (entry.type === 'outbound-rtp') sent += entry.packetsSent ?? 0;
      }
      const last = window.counted.get(connection);
      const most = (now: number, before: number | undefined): number => Math.max(now, before ?? 0);
      window.counted.set(connection, { decoded: most(decoded, last?.decoded), sent: most(sent, last?.sent), heard: most(heard, last?.heard), freezes: most(freezes, last?.freezes) });
    }
  };
  window.RTCPeerConnection = new Proxy(window.RTCPeerConnection, {
    construct(target, args) {
      const connection = new target(...(args as [RTCConfiguration]));
      window.counted.set(connection, { decoded: 0, sent: 0, heard: 0, freezes: 0 });
      return connection;
    },
  });
  setInterval(() => void window.countConnections(), 500);
}

/** Runs in the page: everybody in the list but the person themselves. */
export function readRows(): Row[] {
  return [...document.querySelectorAll<HTMLElement>('.person')]
    .map(({ dataset }) => ({
      joined: Number(dataset['joined']),
      opened: Number(dataset['opened']),
      undecryptable: Number(dataset['undecryptable']),
      keyless: Number(dataset['keyless']),
      presence: dataset['presence'] ?? '',
    }))
    .filter(({ presence }) => presence !== 'me');
}

/** Runs in the page: sums over all people who ever were there. */
export async function sumCounts(): Promise<Counted & Refused> {
  await window.countConnections();
  const sum = { decoded: 0, sent: 0, heard: 0, freezes: 0, undecryptable: 0, keyless: 0 };
  for (const { decoded, sent, heard, freezes } of window.counted.values()) {
    sum.freezes += freezes;
    sum.decoded += decoded;
    sum.sent += sent;
    sum.heard += heard;
  }
  for (const { undecryptable, keyless } of window.refused.values()) {
    sum.undecryptable += undecryptable;
    sum.keyless += keyless;
  }
  return sum;
}

/** Runs in the page: the codecs of all media, as WebRTC reports them. */
export async function readCodecs(): Promise<string[]> {
  const names = new Set<string>();
  for (const connection of window.counted.keys()) {
    for (const entry of (await connection.getStats()).values()) if (entry.type === 'codec') names.add(entry.mimeType);
  }
  return [...names].toSorted();
}
