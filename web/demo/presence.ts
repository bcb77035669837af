/** How it stands with one person, from what WebRTC and the worker counted. */

import type { Member, PeerView, SeatStats, TransformStats } from '../src/index.ts';

/** What is known of a person's media. */
export interface Evidence {
  readonly member: Member;
  readonly peer: PeerView | undefined;
  /** The worker's counters of this person's tracks. */
  readonly tracks: readonly TransformStats[];
  readonly seat: SeatStats | undefined;
  /** Frames opened in the last second. */
  readonly rate: number;
  /** Milliseconds since this person was first seen in the roster. */
  readonly age: number;
}

/** A state, for colours and symbols. */
export type PresenceKind = 'joining' | 'connecting' | 'waiting' | 'decrypting' | 'quiet' | 'headless' | 'trouble' | 'failed';

/** The state and its sentence. */
export interface Presence {
  readonly kind: PresenceKind;
  readonly text: string;
}

/** Somebody who has said nothing for so long has no page. */
const HELLO_TIME = 5000;

/** The state of a person. */
export function presenceOf({ member, peer, tracks, rate, age }: Evidence): Presence {
  if (!member.committed) return { kind: 'joining', text: 'Joining: waits for the lead to hand over the key' };
  if (member.role === 'lead_bot') return { kind: 'headless', text: 'Headless: makes keys, no media' };
  if (!peer) {
    return age < HELLO_TIME
      ? { kind: 'connecting', text: 'Connecting…' }
      : { kind: 'headless', text: 'Headless: has the key, no media' };
  }
  switch (peer.state) {
    case 'connecting':
      return { kind: 'connecting', text: 'Connecting…' };
    case 'interrupted':
      return { kind: 'trouble', text: 'Connection lost; trying again' };
    case 'failed':
      return { kind: 'failed', text: 'No connection: a network between you lets no media through' };
    case 'connected':
      return connected(peer, tracks, rate);
  }
}

function connected(peer: PeerView, tracks: readonly TransformStats[], rate: number): Presence {
  if (rate > 0) return { kind: 'decrypting', text: `Decrypting · ${Math.round(rate)} frames a second` };
  const opened = tracks.reduce((sum, { framesOut }) => sum + framesOut, 0);
  if (tracks.some(({ stuck }) => stuck)) {
    return opened === 0
      ? { kind: 'waiting', text: 'Waiting for the key' }
      : { kind: 'failed', text: 'Cannot decrypt: no key of this call opens what arrives' };
  }
  const { audio, video } = peer.sends;
  if (!audio && !video) return { kind: 'quiet', text: 'Connected · camera and sound off' };
  return { kind: 'quiet', text: 'Connected · nothing arrives right now' };
}
