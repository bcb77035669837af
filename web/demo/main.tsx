/** Starts the page. */

import { render } from 'preact';

import { App } from './app.tsx';
import { Session } from './session.ts';

/** How long a closing page waits for its worker to sign and send the goodbye: both take about a millisecond. */
const GOODBYE = 25;

const session = new Session();
const root = document.querySelector('#app');
if (root) render(<App session={session} />, root);
if (session.stage === 'lobby') void session.preview();

addEventListener('pagehide', () => {
  if (!session.call) return;
  session.leave();
  // The worker dies with the page, so the page lives on until the worker has spoken.
  const until = performance.now() + GOODBYE;
  while (performance.now() < until);
});

// A page that the browser kept and brings back has left its call, and its worker is gone.
addEventListener('pageshow', ({ persisted }) => {
  if (persisted) location.reload();
});
