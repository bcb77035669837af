/** Which screen is shown. */

import { useEffect, useState } from 'preact/hooks';

import { Mark } from './icons.tsx';
import { Lobby } from './lobby.tsx';
import { Room } from './room.tsx';
import type { Session } from './session.ts';
import type { Remedy } from './words.ts';

/** The whole page. */
export function App({ session }: { session: Session }) {
  const [, setDrawn] = useState(0);
  useEffect(() => session.subscribe(() => setDrawn((drawn) => drawn + 1)), [session]);
  useEffect(() => announce(session), [session, session.stage]);
  switch (session.stage) {
    case 'lobby':
      return <Lobby session={session} />;
    case 'joining':
      return <Joining session={session} />;
    case 'call':
      return <Room session={session} />;
    case 'over':
      return session.problem?.remedy === 'token' ? <Lobby session={session} /> : <Over session={session} />;
  }
}

/** A new screen: the tab says where one is, and who uses the keyboard or hears the page begins at its heading. */
function announce(session: Session): void {
  const inCall = session.stage === 'call' || session.stage === 'joining';
  document.title = inCall ? `${session.entry.call} · Conclave` : 'Conclave';
  const focused = document.activeElement;
  if (session.stage !== 'lobby' && (focused === null || focused === document.body)) document.querySelector('h1')?.focus();
}

function Joining({ session }: { session: Session }) {
  const words =
    session.joinStage === 'connecting'
      ? 'Connecting to the relay…'
      : 'You have a seat. Waiting for whoever leads the call to hand over the key…';
  return (
    <main class="notice">
      <Mark />
      <h1 tabIndex={-1}>Joining {session.entry.call}</h1>
      <p role="status">{words}</p>
      <div class="progress" aria-hidden="true" />
      <button type="button" class="plain" onClick={() => session.leave()}>
        Cancel
      </button>
    </main>
  );
}

const REMEDIES: Record<Exclude<Remedy, 'none'>, string> = {
  again: 'Try again',
  reload: 'Reload the page',
  token: 'Enter a token',
  lobby: 'Join again',
};

/** The call is over, or could not begin. */
function Over({ session }: { session: Session }) {
  const { problem } = session;
  if (!problem) return null;
  const { title, text, remedy } = problem;
  const act = (): void => {
    if (remedy === 'reload') location.reload();
    else if (remedy === 'again') session.again();
    else session.back();
  };
  return (
    <main class="notice">
      <Mark />
      <h1 tabIndex={-1}>{title}</h1>
      <p role="alert">{text}</p>
      <div class="row">
        {remedy !== 'none' && (
          <button type="button" class="primary" onClick={act}>
            {REMEDIES[remedy]}
          </button>
        )}
        {remedy !== 'none' && remedy !== 'lobby' && (
          <button type="button" class="plain" onClick={() => session.back()}>
            Back
          </button>
        )}
      </div>
    </main>
  );
}
