/** A typed list of listeners. */

/** Called with what happened. */
export type Listener<T> = (event: T) => void;

/** Hands events of the map `Events` to those who listen. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();

  /** Calls `listener` on each `name`, until the returned function is called. */
  on<K extends keyof Events>(name: K, listener: Listener<Events[K]>): () => void {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set);
    set.add(listener);
    return () => {
      set.delete(listener);
    };
  }

  /** Tells everybody. A listener that throws is reported to the page and does not keep others from hearing. */
  protected emit<K extends keyof Events>(name: K, event: Events[K]): void {
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        (listener as Listener<Events[K]>)(event);
      } catch (error) {
        globalThis.reportError?.(error);
      }
    }
  }

  /** Forgets all listeners. */
  protected silence(): void {
    this.#listeners.clear();
  }
}
