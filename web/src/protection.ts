/** Attaches media to the worker, and watches that it stays attached. */

import { ConclaveError } from './errors.ts';
import { isClosedByDefault } from './media/connection.ts';
import { Watchdog, readSent, type Sent } from './watchdog.ts';
import type { TransformOptions, TransformStats, WorkerStats } from './worker/protocol.ts';

/** What this needs from the call. */
export interface ProtectionHost {
  /** Leads the frames of one end through the call's worker. Throws `not_protectable`. */
  attach(end: RTCRtpSender | RTCRtpReceiver, options: TransformOptions): void;
  /** The worker's counters. */
  stats(): Promise<WorkerStats>;
  /** Media of this sender left without passing the worker. */
  unprotected(sender: RTCRtpSender, error: ConclaveError): void;
}

/** How often the counters are compared: what leaks until then is one picture or two. */
const WATCH_PERIOD = 1000;

interface Watched {
  readonly sender: RTCRtpSender;
  readonly watchdog: Watchdog;
}

/** All media of one call. */
export class Protection {
  readonly #host: ProtectionHost;
  readonly #watched = new Map<number, Watched>();
  readonly #attached = new WeakMap<RTCRtpSender | RTCRtpReceiver, number>();
  #nextId = 1;
  #timer: ReturnType<typeof setInterval> | undefined;
  #checking = false;

  constructor(host: ProtectionHost) {
    this.#host = host;
  }

  /** Seals everything that this sender sends, or every sender of this connection. A second call does nothing. */
  protect(target: RTCRtpSender | RTCPeerConnection): void {
    if ('getSenders' in target) protectAll(target, (sender) => this.#protect(sender));
    else this.#protect(target);
  }

  /** Opens everything that comes in here, as frames of the member on this seat. */
  unprotect(target: RTCRtpReceiver | RTCPeerConnection, joined: number, seat: number): void {
    if (!('getReceivers' in target)) return this.#unprotect(target, joined, seat);
    for (const receiver of target.getReceivers()) this.#unprotect(receiver, joined, seat);
    target.addEventListener('track', ({ receiver }) => this.#unprotect(receiver, joined, seat));
  }

  /** Stops every sender and the watch. Without the worker nothing passes the transforms in any case. */
  stop(): void {
    clearInterval(this.#timer);
    for (const { sender } of this.#watched.values()) silence(sender);
    this.#watched.clear();
  }

  #protect(sender: RTCRtpSender): void {
    if (this.#attached.has(sender)) return;
    const id = this.#attach(sender, (transform) => ({ kind: 'seal', id: transform }));
    this.#watched.set(id, { sender, watchdog: new Watchdog() });
    this.#timer ??= setInterval(() => void this.#watch(), WATCH_PERIOD);
  }

  #unprotect(receiver: RTCRtpReceiver, joined: number, seat: number): void {
    if (this.#attached.has(receiver)) return;
    this.#attach(receiver, (id) => ({ kind: 'open', id, joined, seat }));
  }

  #attach(end: RTCRtpSender | RTCRtpReceiver, options: (id: number) => TransformOptions): number {
    const id = this.#nextId;
    this.#nextId += 1;
    this.#host.attach(end, options(id));
    this.#attached.set(end, id);
    return id;
  }

  async #watch(): Promise<void> {
    // A slow answer must not pile up questions.
    if (this.#checking) return;
    this.#checking = true;
    try {
      await this.#compare();
    } catch {
      // The worker is gone: the link tells, and everything is torn down.
    } finally {
      this.#checking = false;
    }
  }

  async #compare(): Promise<void> {
    const sent = new Map<number, Sent>();
    for (const [id, { sender }] of this.#watched) {
      if (sender.transport?.state === 'closed') this.#watched.delete(id);
      else sent.set(id, readSent((await sender.getStats()).values()));
    }
    if (sent.size === 0) return;
    const { transforms } = await this.#host.stats();
    const byId = new Map<number, TransformStats>(transforms.map((stats) => [stats.id, stats]));
    for (const [id, counts] of sent) {
      const watched = this.#watched.get(id);
      // A connection that was closed between the two questions has no counters left in the worker.
      if (!watched || watched.sender.transport?.state === 'closed') continue;
      if (watched.watchdog.check(counts, byId.get(id))) this.#tearDown(id, watched.sender);
    }
  }

  #tearDown(id: number, sender: RTCRtpSender): void {
    this.#watched.delete(id);
    silence(sender);
    this.#host.unprotected(sender, new ConclaveError('unprotected_media'));
  }
}

/**
 * Every sender that a connection has and will have. In the task that makes a sender, for one that comes later may be too
 * late: so the methods that make them are replaced on this connection.
 */
function protectAll(connection: RTCPeerConnection, protect: (sender: RTCRtpSender) => void): void {
  const senders = connection.getSenders();
  if (senders.length > 0 && !isClosedByDefault(connection)) throw new ConclaveError('not_protectable');
  for (const sender of senders) protect(sender);
  const [addTrack, addTransceiver] = [connection.addTrack.bind(connection), connection.addTransceiver.bind(connection)];
  connection.addTrack = (...args) => {
    const sender = addTrack(...args);
    protect(sender);
    return sender;
  };
  connection.addTransceiver = (...args) => {
    const transceiver = addTransceiver(...args);
    protect(transceiver.sender);
    return transceiver;
  };
  connection.addEventListener('track', ({ transceiver }) => protect(transceiver.sender));
}

/** Takes away what a sender sends. */
function silence(sender: RTCRtpSender): void {
  // Rejected when the connection is closed already, which is as good.
  sender.replaceTrack(null).catch(() => {});
}
