/** What a test leaves open is closed after it, so that the next one has the machine, and a second try finds its calls empty. */

import { afterEach, beforeEach } from 'vitest';

/** A page, or a native member. */
interface Participant {
  close(): Promise<void>;
}

const open = new Set<Participant>();
/** A seat whose socket is gone is kept for ten seconds. */
const SEAT_TIME = 11_000;

/** Somebody takes part. */
export function remember(participant: Participant): void {
  open.add(participant);
}

/** Somebody is closed already. */
export function forget(participant: Participant): void {
  open.delete(participant);
}

// Who came before the first test is there for all of them.
beforeEach(() => open.clear());

afterEach(async ({ task }) => {
  if (open.size === 0) return;
  const left = [...open];
  open.clear();
  await Promise.all(left.map((participant) => participant.close().catch(() => {})));
  if (task.result?.state !== 'fail') return;
  await new Promise((resolve) => {
    setTimeout(resolve, SEAT_TIME);
  });
});
