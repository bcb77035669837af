import { describe, expect, test } from 'vitest';

import { Negotiation, type Connection } from './negotiation.ts';
import type { Signal } from './signals.ts';

type Negotiable = Extract<Signal, { type: 'description' | 'candidates' }>;

const SDP = 'v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 98\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:98 H265/90000\r\n';

/** The signalling states of W3C WebRTC 1.0, section 4.3.2, and nothing else of a connection. */
class FakeConnection implements Connection {
  signalingState: RTCSignalingState = 'stable';
  localDescription: RTCSessionDescriptionInit | null = null;
  remoteDescription: RTCSessionDescriptionInit | null = null;
  readonly candidates: string[] = [];
  rollbacks = 0;
  /** Completed negotiations. */
  agreed = 0;

  async setLocalDescription(): Promise<void> {
    await Promise.resolve();
    const type = this.signalingState === 'have-remote-offer' ? 'answer' : 'offer';
    this.localDescription = { type, sdp: SDP };
    if (type === 'answer') this.agreed += 1;
    this.signalingState = type === 'answer' ? 'stable' : 'have-local-offer';
  }

  async setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void> {
    await Promise.resolve();
    if (description.type === 'offer') {
      if (this.signalingState === 'have-local-offer') this.rollbacks += 1;
      this.signalingState = 'have-remote-offer';
    } else {
      if (this.signalingState !== 'have-local-offer') throw new DOMException('no offer', 'InvalidStateError');
      this.signalingState = 'stable';
      this.agreed += 1;
    }
    this.remoteDescription = description;
  }

  async addIceCandidate({ candidate = '' }: RTCIceCandidateInit): Promise<void> {
    if (!this.remoteDescription) throw new DOMException('no remote description', 'InvalidStateError');
    this.candidates.push(candidate);
  }
}

interface End {
  readonly connection: FakeConnection;
  readonly negotiation: Negotiation;
  /** What it has sent and the other side has not received yet. */
  readonly wire: Negotiable[];
  answers: number;
}

function end(polite: boolean, gathered: () => Promise<void> = () => Promise.resolve()): End {
  const connection = new FakeConnection();
  const wire: Negotiable[] = [];
  const made: End = {
    connection,
    wire,
    answers: 0,
    negotiation: new Negotiation(connection, {
      n: 0,
      polite,
      send: (signal) => {
        if (signal.type === 'description' || signal.type === 'candidates') wire.push(signal);
      },
      beforeAnswer: () => {
        made.answers += 1;
      },
      gathered,
    }),
  };
  return made;
}

async function deliver(from: End, to: End): Promise<void> {
  for (const signal of from.wire.splice(0)) await to.negotiation.receive(signal);
}

describe('perfect negotiation', () => {
  test('one offer, one answer', async () => {
    const [impolite, polite] = [end(false), end(true)];
    await impolite.negotiation.offer();
    await deliver(impolite, polite);
    await deliver(polite, impolite);
    expect([impolite.connection.signalingState, polite.connection.signalingState]).toEqual(['stable', 'stable']);
    expect([impolite.connection.agreed, polite.connection.agreed, polite.answers]).toEqual([1, 1, 1]);
  });

  test('of two offers that cross, the polite side takes its own back', async () => {
    const [impolite, polite] = [end(false), end(true)];
    await Promise.all([impolite.negotiation.offer(), polite.negotiation.offer()]);
    await Promise.all([deliver(impolite, polite), deliver(polite, impolite)]);
    await Promise.all([deliver(impolite, polite), deliver(polite, impolite)]);
    expect([impolite.connection.signalingState, polite.connection.signalingState]).toEqual(['stable', 'stable']);
    expect([impolite.connection.rollbacks, polite.connection.rollbacks]).toEqual([0, 1]);
    expect([impolite.connection.agreed, polite.connection.agreed]).toEqual([1, 1]);
  });

  test('candidates of an offer that was ignored do no harm', async () => {
    const impolite = end(false);
    await impolite.negotiation.offer();
    await impolite.negotiation.receive({ type: 'description', n: 0, kind: 'offer', sdp: SDP });
    await impolite.negotiation.receive({ type: 'candidates', n: 0, candidates: [{ candidate: 'x' }] });
    expect(impolite.connection.signalingState).toBe('have-local-offer');
  });

  test('candidates that overtake nothing are taken after their description', async () => {
    const polite = end(true);
    const description = polite.negotiation.receive({ type: 'description', n: 0, kind: 'offer', sdp: SDP });
    const candidates = polite.negotiation.receive({ type: 'candidates', n: 0, candidates: [{ candidate: 'a' }, { candidate: 'b' }] });
    await Promise.all([description, candidates]);
    expect(polite.connection.candidates).toEqual(['a', 'b']);
  });

  test('an answer to nothing changes nothing', async () => {
    const impolite = end(false);
    await impolite.negotiation.receive({ type: 'description', n: 0, kind: 'answer', sdp: SDP });
    expect(impolite.connection.remoteDescription).toBeNull();
  });

  test('other codecs leave neither way', async () => {
    const [impolite, polite] = [end(false), end(true)];
    await impolite.negotiation.offer();
    expect(impolite.wire.map((signal) => signal.type === 'description' && signal.sdp.includes('H265'))).toEqual([false]);
    await polite.negotiation.receive({ type: 'description', n: 0, kind: 'offer', sdp: SDP });
    expect(polite.connection.remoteDescription?.sdp).not.toContain('H265');
  });

  test('a description that cannot be used is the sender’s fault, and the next one is taken', async () => {
    const polite = end(true);
    const bad = { type: 'description', n: 0, kind: 'offer', sdp: 'v=0\r\nm=video 9 X 98\r\na=rtpmap:98 H265/90000\r\n' } as const;
    await expect(polite.negotiation.receive(bad)).rejects.toMatchObject({ code: 'bad_signal' });
    await polite.negotiation.receive({ type: 'description', n: 0, kind: 'offer', sdp: SDP });
    expect(polite.connection.agreed).toBe(1);
  });

  test('candidates gathered before the description is sent travel in it', async () => {
    let release = (): void => {};
    const gathering = new Promise<void>((resolve) => {
      release = resolve;
    });
    const impolite = end(false, () => gathering);
    const offered = impolite.negotiation.offer();
    await Promise.resolve();
    await Promise.resolve();
    impolite.negotiation.candidate({ candidate: 'early' });
    release();
    await offered;
    impolite.negotiation.candidate({ candidate: 'late' });
    expect(impolite.wire.map(({ type }) => type)).toEqual(['description', 'candidates']);
  });

  test('an offer taken back while it gathered is not sent', async () => {
    const gates: (() => void)[] = [];
    const polite = end(true, () => new Promise((resolve) => gates.push(resolve)));
    const offered = polite.negotiation.offer();
    await new Promise((resolve) => setTimeout(resolve));
    const received = polite.negotiation.receive({ type: 'description', n: 0, kind: 'offer', sdp: SDP });
    await new Promise((resolve) => setTimeout(resolve));
    for (const open of gates) open();
    await Promise.all([offered, received]);
    expect(polite.wire.map((signal) => signal.type === 'description' && signal.kind)).toEqual(['answer']);
  });

  test('an answer is sent though the next offer began while it gathered', async () => {
    const gates: (() => void)[] = [];
    const polite = end(true, () => new Promise((resolve) => gates.push(resolve)));
    const received = polite.negotiation.receive({ type: 'description', n: 0, kind: 'offer', sdp: SDP });
    await new Promise((resolve) => setTimeout(resolve));
    const offered = polite.negotiation.offer();
    await new Promise((resolve) => setTimeout(resolve));
    for (const open of gates) open();
    await Promise.all([received, offered]);
    expect(polite.wire.map((signal) => signal.type === 'description' && signal.kind)).toEqual(['answer', 'offer']);
  });
});
