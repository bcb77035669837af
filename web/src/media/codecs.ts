/**
 * Which codecs a call speaks: those whose frames the core knows how to protect. All others are taken out of every
 * description, in both directions, so that no negotiation can bring them back.
 */

import { ConclaveError } from '../errors.ts';

/** A kind of media. */
export type Kind = 'audio' | 'video';

/** A codec of pictures that can be protected. */
export type VideoCodec = 'vp8' | 'vp9' | 'av1' | 'h264';

/**
 * Names as they stand in `a=rtpmap`, in lower case, in the order in which they are offered. VP8 is first: every browser has it,
 * and every SFU can read its clear bytes.
 */
const CODECS: Record<Kind, readonly string[]> = { audio: ['opus'], video: ['vp8', 'vp9', 'av1', 'h264'] satisfies VideoCodec[] };
/** Carries copies of sealed packets of another codec. */
const REPAIR = 'rtx';
/** Without this every NAL unit has to fit into one packet, which a sealed frame does not. */
const H264_MODE = /(?:^|[; ])packetization-mode=1(?:;|$)/;

/** What `setCodecPreferences` takes and `getCapabilities` gives. */
interface Capability {
  readonly mimeType: string;
  readonly sdpFmtpLine?: string;
}

/**
 * What `setCodecPreferences` of a transceiver should be told: `preferred` first, in its order, then the others; empty when
 * the browser has none of them.
 */
export function allowedCodecs<T extends Capability>(kind: Kind, all: readonly T[], preferred: readonly VideoCodec[] = []): T[] {
  const order = [...new Set<string>(kind === 'video' ? [...preferred, ...CODECS.video] : CODECS.audio), REPAIR];
  const rank = ({ mimeType }: T): number => order.indexOf(mimeType.toLowerCase().slice(kind.length + 1));
  const isAllowed = (codec: T): boolean => isProtectable(kind, codec.mimeType.toLowerCase().slice(kind.length + 1), codec.sdpFmtpLine);
  return all.filter((codec) => isAllowed(codec) || rank(codec) === order.length - 1).toSorted((a, b) => rank(a) - rank(b));
}

function isProtectable(kind: Kind, name: string, parameters: string | undefined): boolean {
  return CODECS[kind].includes(name) && (name !== 'h264' || H264_MODE.test(parameters ?? ''));
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
  const parameters = new Map<string, string>();
  for (const line of lines) {
    const [, payload, name] = /^a=rtpmap:(\d+) ([^/]+)\//.exec(line) ?? [];
    if (payload !== undefined && name !== undefined) names.set(payload, name.toLowerCase());
    const [, of, text] = /^a=fmtp:(\d+) (.*)$/.exec(line) ?? [];
    if (of !== undefined && text !== undefined) parameters.set(of, text);
  }
  const isMedia = (payload: string): boolean => isProtectable(kind, names.get(payload) ?? '', parameters.get(payload));
  const repaired = (payload: string): string => /(?:^|[; ])apt=(\d+)/.exec(parameters.get(payload) ?? '')?.[1] ?? '';
  const isRepair = (payload: string): boolean => kind === 'video' && names.get(payload) === REPAIR && isMedia(repaired(payload));
  return new Set([...names.keys()].filter((payload) => isMedia(payload) || isRepair(payload)));
}
