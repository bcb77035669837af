/** In the call. */

import { useEffect, useState } from 'preact/hooks';

import { invitation, readAddress, throughServer } from './address.ts';
import { Icon, Mark } from './icons.tsx';
import { MediaButtons } from './lobby.tsx';
import type { Notice } from './notices.ts';
import { Panel } from './panel.tsx';
import type { Person, Session } from './session.ts';
import { Video } from './video.tsx';
import { enumerate, initials } from './words.ts';

/** Tiles, the panel beside them, and the controls. */
export function Room({ session }: { session: Session }) {
  const { people } = session;
  const others = people.filter((person) => !person.isMe && isSeen(person));
  const shown = [...people.filter(({ isMe }) => isMe), ...others];
  const last = session.keyChanges.at(-1);
  return (
    <div class="room">
      <RoomHead session={session} />
      <NoticeLine notice={session.notices.current} />
      <main class="stage">
        <h1 class="unseen-text" tabIndex={-1}>
          Call {session.entry.call}
        </h1>
        {suggestsServer(session) && <Suggestion session={session} />}
        <ul class="tiles" data-count={Math.min(shown.length, 9)} aria-label="Pictures">
          {shown.map((person) => (
            <Tile key={person.member.joined} person={person} session={session} />
          ))}
        </ul>
        {others.length === 0 && <Alone session={session} />}
      </main>
      <Panel session={session} />
      <footer class="controls">
        <MediaButtons session={session} />
        <button type="button" class="round leave" aria-label="Leave the call" title="Leave the call" onClick={() => session.leave()}>
          <Icon name="leave" />
        </button>
      </footer>
      <p class="unseen-text" aria-live="polite">
        {last?.text}
      </p>
    </div>
  );
}

/** Who has no picture by nature, a bot or a recorder, stands in the list of people alone. */
function isSeen({ member, peer, presence }: Person): boolean {
  return member.role === 'recorder' ? peer?.sends.video === true : presence.kind !== 'headless';
}

function RoomHead({ session }: { session: Session }) {
  const epoch = session.call?.epoch?.epoch;
  return (
    <header class="room-head">
      <Mark />
      <p class="room-name">
        <span class="unseen-text">Call </span>
        {session.entry.call}
      </p>
      <p class="chip" title="Every frame is encrypted under a key that only the people in this call hold">
        <Icon name="lock" />
        <span>
          Encrypted<span class="wide"> · key {epoch?.join('.') ?? '…'}</span>
        </span>
      </p>
      <Recording people={session.people} />
      <CopyLink call={session.entry.call} />
      {session.warning !== undefined && (
        <div class="warning" role="alert">
          <Icon name="warning" />
          <span>{session.warning}</span>
          <button type="button" class="plain" onClick={() => session.dismissWarning()}>
            Dismiss
          </button>
        </div>
      )}
    </header>
  );
}

/** Who records is said where everybody looks, for as long as they hold a key. */
function Recording({ people }: { people: readonly Person[] }) {
  const names = people.filter(({ member }) => member.role === 'recorder' && member.committed).map(({ member }) => member.user);
  // The line itself stays, so that who hears the page is told when somebody begins.
  return (
    <div class="recorders" role="status">
      {names.length > 0 && (
        <p class="recorders-chip" title="Keeps what everybody here shows and says">
          <Icon name="record" />
          <span>Recording: {enumerate(names)}</span>
        </p>
      )}
    </div>
  );
}

/** From browser to browser everybody sends to everybody: with more than so many people that becomes a burden. */
const MESH_PEOPLE = 6;

/** Everybody whom pictures go to. */
function audience(session: Session): number {
  return session.people.filter(({ member }) => member.role !== 'lead_bot').length;
}

function suggestsServer(session: Session): boolean {
  return audience(session) > MESH_PEOPLE && !session.suggestionDismissed && readAddress(location.href).server === undefined;
}

function Suggestion({ session }: { session: Session }) {
  const change = (): void => {
    location.href = throughServer(location.href, session.entry.call);
    // The address differs behind its # alone, which loads nothing by itself.
    location.reload();
  };
  return (
    <section class="suggestion" aria-label="A call of many">
      <Icon name="people" />
      <p>
        <strong>{audience(session)} people: a media server would make this call lighter.</strong> Each of you sends to all the others now. A server
        forwards for everybody, and still sees nothing. All of you have to switch.
      </p>
      <div class="suggestion-buttons">
        <button type="button" class="plain" onClick={change}>
          Switch to it
        </button>
        <button type="button" class="plain" onClick={() => session.dismissSuggestion()}>
          Not now
        </button>
      </div>
    </section>
  );
}

/** Lies over the room without moving anything; who hears the page is told without being interrupted. */
function NoticeLine({ notice }: { notice: Notice | undefined }) {
  return (
    <div class="notice-line" role="status">
      {notice && (
        <p class={`notice-text ${notice.kind}`}>
          <span class="notice-dot" aria-hidden="true" />
          {notice.text}
        </p>
      )}
    </div>
  );
}

/** Puts the link to this call on the clipboard. */
function CopyLink({ call }: { call: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = (): void => {
    // Refused without focus or permission: the address bar has the link too.
    navigator.clipboard.writeText(invitation(location.href, call)).then(
      () => setCopied(true),
      () => {},
    );
  };
  return (
    <button type="button" class="plain copy" onClick={copy}>
      <Icon name="link" />
      <span aria-live="polite">{copied ? 'Copied' : 'Copy link'}</span>
    </button>
  );
}

function Alone({ session }: { session: Session }) {
  return (
    <div class="alone">
      <p>Nobody else is here yet. Send them this link, or open it in another tab:</p>
      <p class="alone-link">{invitation(location.href, session.entry.call)}</p>
    </div>
  );
}

function Tile({ person, session }: { person: Person; session: Session }) {
  const { member, isMe, leads, away, peer, presence } = person;
  const video = isMe ? session.media.isOn('video') : peer?.state === 'connected' && peer.sends.video && person.opened > 0;
  const muted = isMe ? !session.media.isOn('audio') : peer !== undefined && !peer.sends.audio;
  const stream = isMe ? session.media.stream : peer?.stream;
  const calm = isMe || presence.kind === 'decrypting' || presence.kind === 'quiet';
  return (
    <li class="tile" data-joined={member.joined} data-kind={isMe ? 'me' : presence.kind}>
      {stream && <Video stream={stream} own={isMe} hidden={!video} />}
      {!video && <span class={`initials hue-${member.joined % 6}`}>{initials(member.user)}</span>}
      {(away || !calm) && <p class="tile-state">{away ? `${member.user} is away` : presence.text}</p>}
      <p class="tile-name">
        {muted && (
          <>
            <Icon name="micOff" />
            <span class="unseen-text">Muted: </span>
          </>
        )}
        <span class="tile-user">{isMe ? `${member.user} (you)` : member.user}</span>
        {leads && (
          <span class="lead" title="Makes the keys of this call">
            <Icon name="crown" />
            <span>lead</span>
          </span>
        )}
      </p>
    </li>
  );
}
