/** Before the call: who, where, and how one looks. */

import { useState } from 'preact/hooks';

import { readAddress, subjectOf } from './address.ts';
import { Icon, Mark } from './icons.tsx';
import type { Session } from './session.ts';
import { Video } from './video.tsx';
import { initials, type Problem } from './words.ts';

const CALL_NAME = '[A-Za-z0-9_.\\-]{1,64}';

/** The first screen. */
export function Lobby({ session }: { session: Session }) {
  return (
    <main class="lobby">
      <header class="lobby-head">
        <Mark />
        <h1>Conclave</h1>
        <p>Video calls that only the people in them can see and hear. Not even the server can.</p>
      </header>
      <div class="lobby-cards">
        <Preview session={session} />
        <JoinForm session={session} />
      </div>
    </main>
  );
}

function Preview({ session }: { session: Session }) {
  const { media } = session;
  const name = session.entry.user;
  return (
    <section class="card preview" aria-label="Your camera and microphone">
      <div class="tile">
        <Video stream={media.stream} own hidden={!media.isOn('video')} />
        {!media.isOn('video') && <Blank name={name} busy={media.busy} />}
      </div>
      <MediaButtons session={session} />
      {media.problem !== undefined && (
        <div class="hint" role="status">
          <p>{media.problem}</p>
          <button type="button" class="plain" onClick={() => void session.preview()}>
            Try again
          </button>
        </div>
      )}
    </section>
  );
}

function Blank({ name, busy }: { name: string; busy: boolean }) {
  if (busy) return <p class="blank-text">Starting your camera. Your browser may ask for permission.</p>;
  return name ? <span class="initials">{initials(name)}</span> : <p class="blank-text">Your camera is off</p>;
}

/** The two switches, here and in the call. */
export function MediaButtons({ session }: { session: Session }) {
  const { media } = session;
  const [audio, video] = [media.isOn('audio'), media.isOn('video')];
  return (
    <div class="media-buttons">
      <button
        type="button"
        class={`round ${audio ? '' : 'off'}`}
        aria-pressed={!audio}
        aria-label={audio ? 'Mute microphone' : 'Unmute microphone'}
        title={audio ? 'Mute microphone' : 'Unmute microphone'}
        disabled={media.busy}
        onClick={() => void session.toggle('audio')}
      >
        <Icon name={audio ? 'mic' : 'micOff'} />
      </button>
      <button
        type="button"
        class={`round ${video ? '' : 'off'}`}
        aria-pressed={!video}
        aria-label={video ? 'Turn camera off' : 'Turn camera on'}
        title={video ? 'Turn camera off' : 'Turn camera on'}
        disabled={media.busy}
        onClick={() => void session.toggle('video')}
      >
        <Icon name={video ? 'camera' : 'cameraOff'} />
      </button>
    </div>
  );
}

/** A token says who one is; without one, everybody calls themselves as they like. */
function JoinForm({ session }: { session: Session }) {
  const [address] = useState(() => readAddress(location.href));
  const [call, setCall] = useState(session.entry.call || address.call || 'demo');
  const [token, setToken] = useState(session.entry.token || address.token);
  const [user, setUser] = useState(session.entry.user || address.name);
  const subject = subjectOf(token);
  const wantsToken = session.problem?.remedy === 'token';

  const submit = (event: Event): void => {
    event.preventDefault();
    void session.join({ call: call.trim(), user: (subject ?? user).trim(), token: token.trim() });
  };
  return (
    <form class="card form" onSubmit={submit} aria-label="Join a call">
      <Complaint problem={session.problem} />
      <label>
        Your name
        <input
          name="name"
          value={subject ?? user}
          readOnly={subject !== undefined}
          required
          maxLength={64}
          autocomplete="name"
          placeholder="Ana"
          onInput={(event) => setUser(event.currentTarget.value)}
        />
      </label>
      <label>
        Call
        <input
          name="call"
          value={call}
          required
          pattern={CALL_NAME}
          title="1 to 64 letters, digits, dots, dashes and underscores"
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          onInput={(event) => setCall(event.currentTarget.value)}
        />
      </label>
      <label class="check">
        <input type="checkbox" checked={session.media.small} onChange={(event) => void session.setSmall(event.currentTarget.checked)} />
        Small picture, to save data and battery
      </label>
      <details open={wantsToken || token !== ''}>
        <summary>I have an access token</summary>
        <label>
          Access token
          <textarea name="token" rows={3} value={token} autocomplete="off" spellcheck={false} onInput={(event) => setToken(event.currentTarget.value)} />
        </label>
      </details>
      <button type="submit" class="primary">
        <Icon name="lock" /> Join
      </button>
      <p class="small">Your keys are made in this page and never leave it.</p>
    </form>
  );
}

function Complaint({ problem }: { problem: Problem | undefined }) {
  if (!problem) return null;
  return (
    <div class="hint" role="alert">
      <strong>{problem.title}</strong>
      <p>{problem.text}</p>
    </div>
  );
}
