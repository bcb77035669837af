/** What a test that failed leaves behind is closed, so that its second try finds its calls empty. */

import { afterEach } from 'vitest';

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

afterEach(async ({ task }) => {
  if (task.result?.state !== 'fail' || open.size === 0) return;
  const left = [...open];
  open.clear();
  await Promise.all(left.map((participant) => participant.close().catch(() => {})));
  await new Promise((resolve) => {
    setTimeout(resolve, SEAT_TIME);
  });
});
