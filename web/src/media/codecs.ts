/**
 * Which codecs a call speaks: those whose frames the core knows how to protect. All others are taken out of every
 * description, in both directions, so that no negotiation can bring them back.
 */

import { ConclaveError } from '../errors.ts';

/** A kind of media. */
export type Kind = 'audio' | 'video';

/** Codec names as they stand in `a=rtpmap`, in lower case. `rtx` carries copies of sealed packets of another codec. */
const CODECS: Record<Kind, readonly string[]> = { audio: ['opus'], video: ['vp8', 'rtx'] };

/** What `setCodecPreferences` of a transceiver should be told; empty when the browser has none of them. */
export function allowedCodecs<T extends { mimeType: string }>(kind: Kind, all: readonly T[]): T[] {
  const names = new Set(CODECS[kind].map((name) => `${kind}/${name}`));
  return all.filter(({ mimeType }) => names.has(mimeType.toLowerCase()));
}

/**
 * Takes every other codec out of a session description, and the lines that speak of it: some browsers leave those of
 * removed payload types behind, and others refuse them.
 *
 * Throws `bad_signal` when nothing would be left of a section.
 */
export function keepAllowedCodecs(sdp: string): string {
  const [session = '', ...sections] = sdp.split(/^(?=m=)/m);
  return session + sections.map(filterSection).join('');
}

function filterSection(section: string): string {
  const lines = section.split('\r\n');
  const [head = ''] = lines;
  const [media = '', port, protocol, ...payloads] = head.split(' ');
  const kind = media.slice('m='.length);
  // Other kinds carry no frames. A section with port 0 is switched off, unless it travels in the bundle of another:
  // Firefox writes all but the first like that.
  const isOff = port === '0' && !lines.includes('a=bundle-only');
  if ((kind !== 'audio' && kind !== 'video') || isOff) return section;
  const allowed = allowedPayloads(kind, lines);
  const kept = payloads.filter((payload) => allowed.has(payload));
  if (kept.length === 0) {
    throw new ConclaveError('bad_signal', { message: `The description has no ${kind} codec that can be protected.` });
  }
  const rest = lines.slice(1).filter((line) => {
    const payload = /^a=(?:rtpmap|fmtp|rtcp-fb):(\d+)/.exec(line)?.[1];
    return payload === undefined || kept.includes(payload);
  });
  return [[media, port, protocol, ...kept].join(' '), ...rest].join('\r\n');
}

function allowedPayloads(kind: Kind, lines: readonly string[]): Set<string> {
  const names = new Map<string, string>();
  const repairs = new Map<string, string>();
  for (const line of lines) {
    const [, payload, name] = /^a=rtpmap:(\d+) ([^/]+)\//.exec(line) ?? [];
    if (payload !== undefined && name !== undefined) names.set(payload, name.toLowerCase());
    const [, repair, of] = /^a=fmtp:(\d+) (?:.*;)?\s*apt=(\d+)/.exec(line) ?? [];
    if (repair !== undefined && of !== undefined) repairs.set(repair, of);
  }
  const isAllowed = (payload: string): boolean => {
    const name = names.get(payload);
    if (name === undefined || !CODECS[kind].includes(name)) return false;
    return name !== 'rtx' || names.get(repairs.get(payload) ?? '') === CODECS[kind][0];
  };
  return new Set([...names.keys()].filter(isAllowed));
}
