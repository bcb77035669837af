/** How long to wait before connecting again, in milliseconds. */

/** The first pause is no longer than this. */
const FIRST = 500;
/**
 * The longest pause while a seat may be kept: the relay keeps it for seconds, and one that was restarted takes back
 * whoever comes in its first half minute. Everybody is back within two seconds of its return.
 */
export const LONGEST_FOR_A_SEAT = 1500;
/** The same after a long while: short of the half minute in which a restarted relay rebuilds its calls. */
export const LONGEST_FOR_KEYS = 15_000;
/** The longest pause before joining afresh. */
export const LONGEST = 30_000;

/**
 * Pauses that double, each drawn at random from its upper half, so that a thousand pages that lost one relay do not come
 * back in the same moment.
 */
export class Backoff {
  #ceiling = FIRST;

  /** The next pause, no longer than `longest`. `random` is a fresh random number from 0 to 1. */
  next(random: number, longest: number): number {
    const ceiling = Math.min(this.#ceiling, longest);
    this.#ceiling = Math.min(ceiling * 2, longest);
    return ceiling / 2 + (random * ceiling) / 2;
  }

  /** Somebody answered: what was waited for so long is there, so the next pause is no longer than this. */
  ease(longest: number): void {
    this.#ceiling = Math.min(this.#ceiling, longest);
  }

  /** The connection held: the next pause is short again. */
  reset(): void {
    this.#ceiling = FIRST;
  }
}
