/** What goes on with the call, one line at a time: what is wrong stands as long as it is, what is news for a moment. */

import type { KeyMissing, LinkState, PauseReason } from '../src/index.ts';

/** One line. */
export interface Notice {
  /** For colours: something is wrong, right again, or merely new. */
  readonly kind: 'trouble' | 'good' | 'news';
  readonly text: string;
}

/** What is over within this time was never worth a word. */
const UNSEEN = 1000;
/** How long news stand. */
const NEWS = 4000;

type After = (milliseconds: number, callback: () => void) => () => void;

const timeout: After = (milliseconds, callback) => {
  const timer = setTimeout(callback, milliseconds);
  return () => clearTimeout(timer);
};

/** Keeps the one line. No IO. */
export class Notices {
  readonly #changed: () => void;
  readonly #after: After;
  #link: LinkState = 'up';
  /** Back with a seat, and without a key. */
  #keyless = false;
  #missing: KeyMissing | undefined;
  #paused: PauseReason | undefined;
  /** The media server is away: pictures have no way. */
  #serverless = false;
  /** The trouble that is shown, and whether it has lasted long enough to be. */
  #shown = false;
  #settling: (() => void) | undefined;
  #news: Notice | undefined;
  #forget: (() => void) | undefined;

  constructor(changed: () => void, after: After = timeout) {
    this.#changed = changed;
    this.#after = after;
  }

  /** The line to show. */
  get current(): Notice | undefined {
    const text = this.#trouble();
    if (text !== undefined && this.#shown) return { kind: 'trouble', text };
    return this.#news;
  }

  /** The connection to the relay. */
  link(state: LinkState): void {
    if (state === 'rejoining') {
      this.#keyless = true;
      this.#missing = this.#paused = undefined;
    }
    this.#link = state;
    this.#settle();
  }

  /** This device seals under a key. */
  active(): void {
    this.#keyless = false;
    this.#settle();
  }

  /** The newest key is missing, or here. */
  missing(reason: KeyMissing | undefined): void {
    this.#missing = reason;
    this.#settle();
  }

  /** Nothing is sealed, or something is again. */
  paused(reason: PauseReason | undefined): void {
    this.#paused = reason;
    this.#settle();
  }

  /** The media server is there or away. */
  server(state: 'connected' | 'interrupted'): void {
    this.#serverless = state === 'interrupted';
    this.#settle();
  }

  /** Something to be known for a moment. */
  tell(text: string, kind: 'good' | 'news' = 'news'): void {
    this.#forget?.();
    this.#news = { kind, text };
    this.#forget = this.#after(NEWS, () => {
      this.#news = undefined;
      this.#changed();
    });
    this.#changed();
  }

  /** Forgets everything, with the call. */
  clear(): void {
    this.#settling?.();
    this.#forget?.();
    this.#settling = this.#forget = this.#news = this.#missing = this.#paused = undefined;
    this.#shown = this.#keyless = this.#serverless = false;
    this.#link = 'up';
  }

  #trouble(): string | undefined {
    if (this.#link === 'rejoining' || this.#keyless) return 'Joining again…';
    if (this.#link === 'down') {
      return this.#paused
        ? 'Connection lost, reconnecting. Nobody sees or hears you until it is back.'
        : 'Connection lost, reconnecting. Your call goes on.';
    }
    if (this.#paused) return PAUSED[this.#paused];
    if (this.#serverless) return 'The media server does not answer: nobody sees or hears anybody. Trying again…';
    return this.#missing && MISSING[this.#missing];
  }

  /** Trouble is shown once it has lasted; when shown trouble is over, that is told. */
  #settle(): void {
    const troubled = this.#trouble() !== undefined;
    if (troubled && !this.#shown && !this.#settling) {
      this.#settling = this.#after(UNSEEN, () => {
        this.#settling = undefined;
        this.#shown = this.#trouble() !== undefined;
        this.#changed();
      });
    }
    if (!troubled) {
      this.#settling?.();
      this.#settling = undefined;
      if (this.#shown) {
        this.#shown = false;
        return this.tell('Back.', 'good');
      }
    }
    this.#changed();
  }
}

const PAUSED: Record<PauseReason, string> = {
  behind: 'Nobody sees or hears you right now: the newest key has not come here. Asking for it…',
  lease: 'Nobody sees or hears you right now: whoever leads the call has not been heard for a while.',
};

const MISSING: Record<KeyMissing, string> = {
  refused: 'The newest key that came here is not right. Asking for it again…',
  withheld: 'There is a newer key that has not come here. Asking for it…',
  frames: 'Pictures come that this page has no key for. Asking for it…',
};
