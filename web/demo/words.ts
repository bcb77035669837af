/** What the page says, in words that tell a person what to do. */

import type { Cause, ConclaveError, EpochInfo, ErrorCode, Member } from '../src/index.ts';

/** What a button under a problem does. */
export type Remedy = 'again' | 'reload' | 'token' | 'lobby' | 'none';

/** Something that went wrong, for a person. */
export interface Problem {
  readonly title: string;
  readonly text: string;
  readonly remedy: Remedy;
}

/** An error in words. */
export function problemOf(error: ConclaveError): Problem {
  const known = PROBLEMS[error.code];
  if (known) return known;
  if (error.code === 'version') {
    return { title: 'This page and the relay do not match', text: `${error.message} Reload the page to get the current one.`, remedy: 'reload' };
  }
  if (error.code === 'unsupported_browser') return unsupportedBrowser(error.message);
  return { title: 'That did not work', text: error.message, remedy: error.retryable ? 'again' : 'lobby' };
}

const AWAY: Problem = {
  title: 'The relay is away',
  text: 'Your camera and microphone reach nobody. Check your network, or wait a moment and try again.',
  remedy: 'again',
};

const PROBLEMS: Partial<Record<ErrorCode, Problem>> = {
  insecure_context: {
    title: 'This page was not loaded securely',
    text: 'Browsers only encrypt calls on pages from https, or from localhost. Open the same address with https:// in front.',
    remedy: 'none',
  },
  unreachable: {
    title: 'The relay cannot be reached',
    text: 'Check your network, or wait a moment and try again. Your camera and microphone reach nobody meanwhile.',
    remedy: 'again',
  },
  disconnected: AWAY,
  closing: { ...AWAY, title: 'The relay is restarting' },
  call_full: {
    title: 'The call is full',
    text: 'Every seat is taken. Ask somebody to leave, or try again in a moment.',
    remedy: 'again',
  },
  token_refused: {
    title: 'Your access was refused',
    text: 'The relay does not accept this access token. Ask whoever invited you for a new link.',
    remedy: 'token',
  },
  token_expired: {
    title: 'Your access has expired',
    text: 'Access tokens last only a while. Ask whoever invited you for a new link.',
    remedy: 'token',
  },
  wrong_call: {
    title: 'This access is for another call',
    text: 'The token names another call than the one you want to join. Check the name of the call, or ask for a new link.',
    remedy: 'token',
  },
  user_mismatch: {
    title: 'This access is for somebody else',
    text: 'The token is made out to another name. Join under that name, or ask for a token of your own.',
    remedy: 'token',
  },
  token_unavailable: {
    title: 'This relay wants an access token',
    text: 'Ask whoever invited you for a link with a token in it, or paste the token below.',
    remedy: 'token',
  },
  out_of_step: {
    title: 'Out of step with the call',
    text: 'The others have a key that this page could not follow, so it joins again with a fresh one.',
    remedy: 'again',
  },
  too_many_connections: {
    title: 'Too many connections from your network',
    text: 'Close other tabs with calls, then try again.',
    remedy: 'again',
  },
  too_many_calls: { title: 'The relay is busy', text: 'It serves as many calls as it may. Try again in a moment.', remedy: 'again' },
  removed: { title: 'You were removed', text: 'Whoever leads this call took you out of it.', remedy: 'lobby' },
  replaced: { title: 'You joined from somewhere else', text: 'This device is in the call on another page.', remedy: 'lobby' },
  left: { title: 'You left the call', text: 'The others have a new key by now: what they say from here on, this page could not decrypt.', remedy: 'lobby' },
  worker_lost: {
    title: 'The encryption stopped',
    text: 'The part of this page that holds the keys is gone, so nothing is sent any more. Reload the page and join again.',
    remedy: 'reload',
  },
  internal: {
    title: 'Something broke',
    text: 'The encryption stopped for a reason that is our fault, so nothing is sent any more. Reload the page and join again.',
    remedy: 'reload',
  },
};

function unsupportedBrowser(message: string): Problem {
  return {
    title: 'This browser cannot protect a call',
    text: `${message} Use a current Chrome, Edge, Firefox or Safari.`,
    remedy: 'none',
  };
}

/** What a camera or microphone said when it was asked. */
export function mediaProblem(error: unknown): string {
  const name = error instanceof DOMException ? error.name : '';
  switch (name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return 'Camera and microphone are not allowed. You can join to watch and listen; to be seen, allow them in the address bar and try again.';
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'No camera or microphone was found. You can join to watch and listen, or plug one in and try again.';
    case 'NotReadableError':
    case 'AbortError':
      return 'Another program is using the camera or microphone. Close it and try again, or join to watch and listen.';
    default:
      return 'The camera or microphone did not start. You can join to watch and listen, or try again.';
  }
}

/** Who leads, in one sentence. */
export function leads(lead: Member, me: number | undefined): string {
  return lead.joined === me ? 'You lead the call now.' : `${lead.user} leads the call now.`;
}

/** Why the key changed, in one sentence: "Ana joined: the key moved one step on." */
export function keyChange({ cause, added, removed, lead, members }: EpochInfo, me: number | undefined): string {
  const name = (member: Member): string => (member.joined === me ? 'You' : member.user);
  const who = (list: readonly Member[]): string => enumerate(list.map(name));
  const leader = members.find(({ joined }) => joined === lead);
  switch (cause) {
    case 'start':
      return 'The call began with its first key.';
    case 'join':
      return added.some(({ joined }) => joined === me)
        ? 'You joined: the key moved one step on. What came before stays closed to you.'
        : `${who(added)} joined: the key moved one step on.`;
    case 'leave':
      return `${who(removed)} left: everybody has a new key.`;
    case 'remove':
      return `${who(removed)} was removed: everybody has a new key.`;
    case 'lead_change':
      return `${leader ? name(leader) : 'Somebody else'} ${leader?.joined === me ? 'lead' : 'leads'} now: everybody has a new key.`;
    case 'timer':
      return 'The key was old: everybody has a new one.';
    case 'request':
      return 'A new key was asked for: everybody has it.';
  }
}

/** One word for a kind of key change, for the legend. */
export const CAUSE_WORDS: Record<Cause, string> = {
  start: 'start',
  join: 'join',
  leave: 'leave',
  remove: 'removal',
  lead_change: 'new lead',
  timer: 'age',
  request: 'on request',
};

/** "Ana", "Ana and Ben", "Ana, Ben and 3 others". */
export function enumerate(names: readonly string[]): string {
  const [first, second, ...rest] = names;
  if (first === undefined) return 'Somebody';
  if (second === undefined) return first;
  if (rest.length === 0) return `${first} and ${second}`;
  return `${first}, ${second} and ${rest.length} ${rest.length === 1 ? 'other' : 'others'}`;
}

/** "AB" for "Ana Berg": stands where a picture would. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/);
  const letters = [words[0], words.length > 1 ? words.at(-1) : undefined].map((word) => [...(word ?? '')][0] ?? '');
  return letters.join('').toUpperCase();
}
