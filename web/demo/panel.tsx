/** Beside the tiles: who is here, the key and why it changed, and the code to compare. */

import { useState } from 'preact/hooks';

import { Icon } from './icons.tsx';
import type { KeyChange, Person, Session } from './session.ts';
import { CAUSE_WORDS } from './words.ts';

/** Marks that fit beside each other in the narrowest panel, at 360 pixels. */
const MARKS = 26;

/** The side panel. */
export function Panel({ session }: { session: Session }) {
  return (
    <aside class="panel" aria-label="People and keys">
      <People session={session} />
      <Keys session={session} />
      <Code code={session.call?.securityCode} />
    </aside>
  );
}

function People({ session }: { session: Session }) {
  const { people } = session;
  const iLead = people.some(({ isMe, leads }) => isMe && leads);
  return (
    <section aria-labelledby="people">
      <h2 id="people">
        Here now <span class="count">{people.length}</span>
      </h2>
      <ul class="people">
        {people.map((person) => (
          <PersonRow key={person.member.joined} person={person} remove={iLead && !person.isMe ? () => void removeFrom(session, person) : undefined} />
        ))}
      </ul>
    </section>
  );
}

/** The list shows it when it is done; a refusal means that somebody else leads by now, which the list shows too. */
async function removeFrom(session: Session, person: Person): Promise<void> {
  await session.call?.remove(person.member.joined).catch(() => {});
}

function PersonRow({ person, remove }: { person: Person; remove: (() => void) | undefined }) {
  const { member, isMe, leads, away, unconfirmed, presence, opened, undecryptable, keyless } = person;
  const [good, bad] = [opened, undecryptable + keyless].map((count) => count.toLocaleString('en'));
  const counted = `${good} frames decrypted, ${bad} that no key opened`;
  // The numbers behind the words, for whoever looks closer.
  const data = {
    'data-joined': member.joined,
    'data-opened': opened,
    'data-undecryptable': undecryptable,
    'data-keyless': keyless,
    'data-presence': isMe ? 'me' : presence.kind,
    'data-away': away,
    'data-unconfirmed': unconfirmed,
  };
  return (
    <li class="person" {...data}>
      <span class={`dot ${isMe ? 'me' : presence.kind}`} aria-hidden="true" />
      <div class="person-text">
        <p class="person-name">
          {member.user}
          {isMe && <span class="dim">(you)</span>}
          {leads && (
            <span class="lead">
              <Icon name="crown" />
              <span>lead</span>
            </span>
          )}
          {member.role === 'recorder' && (
            <span class="badge recorder">
              <Icon name="record" /> recorder
            </span>
          )}
          {member.role === 'lead_bot' && (
            <span class="badge">
              <Icon name="bot" /> bot
            </span>
          )}
          {unconfirmed && (
            <span class="dim" title="The relay and the lead list this device; it has not shown by its own key that it is there.">
              not yet confirmed
            </span>
          )}
        </p>
        <p class="dim" title={isMe ? undefined : counted}>
          {isMe ? member.name : `${away ? 'Away: their connection to the relay is lost · ' : ''}${presence.text}`}
        </p>
      </div>
      {remove && (
        <button type="button" class="plain" aria-label={`Remove ${member.user} from the call`} onClick={remove}>
          Remove
        </button>
      )}
    </li>
  );
}

function Keys({ session }: { session: Session }) {
  const { keyChanges, call } = session;
  const last = keyChanges.at(-1);
  const rotate = (): void => {
    // A refusal means that there is no key to change yet, or no call any more.
    call?.rotate().catch(() => {});
  };
  return (
    <section aria-labelledby="keys">
      <h2 id="keys">Key</h2>
      {last && (
        <p class="key-now">
          <span class={`swatch ${last.info.cause}`} aria-hidden="true" />
          <span>
            <strong>{last.text}</strong>
            <br />
            <span class="dim">
              Key {last.info.epoch.join('.')} since {time(last.at)}
            </span>
          </span>
        </p>
      )}
      <Strip changes={keyChanges} />
      <div class="key-foot">
        <Legend changes={keyChanges} />
        <button type="button" class="plain" onClick={rotate}>
          <Icon name="key" /> Change it now
        </button>
      </div>
      <History changes={keyChanges} />
    </section>
  );
}

/** One mark for each key, the newest on the right. What it shows at a glance, {@link History} says in words. */
function Strip({ changes }: { changes: readonly KeyChange[] }) {
  return (
    <ol class="strip" aria-hidden="true">
      {changes.slice(-MARKS).map(({ info, text, at }) => (
        <li key={info.epoch.join('.')} class={`mark-of ${info.cause}`} title={`${time(at)} · key ${info.epoch.join('.')} · ${text}`} />
      ))}
    </ol>
  );
}

function Legend({ changes }: { changes: readonly KeyChange[] }) {
  const causes = new Set(changes.slice(-MARKS).map(({ info }) => info.cause));
  return (
    <ul class="legend" aria-hidden="true">
      {[...causes].map((cause) => (
        <li key={cause}>
          <span class={`swatch ${cause}`} /> {CAUSE_WORDS[cause]}
        </li>
      ))}
    </ul>
  );
}

/** Hundreds of lines in a long call, and the panel is drawn anew with every key: they are made for those who look. */
function History({ changes }: { changes: readonly KeyChange[] }) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary>{changes.length === 1 ? 'One key since you joined' : `All ${changes.length} keys since you joined`}</summary>
      {open && (
        <ol class="history">
          {changes.toReversed().map(({ info, text, at }) => (
            <li key={info.epoch.join('.')}>
              <span class={`swatch ${info.cause}`} aria-hidden="true" /> <span class="dim">{time(at)}</span> {text}
            </li>
          ))}
        </ol>
      )}
    </details>
  );
}

function Code({ code }: { code: string | undefined }) {
  if (code === undefined) return null;
  return (
    <section aria-labelledby="code">
      <h2 id="code">Security code</h2>
      <p class="code">
        {code.split(' ').map((group) => (
          <span key={group}>{group}</span>
        ))}
      </p>
      <p class="dim">
        Read it to each other: when all of you see the same digits, nobody is in between. It changes when people come or go, not with every key.
      </p>
    </section>
  );
}

const CLOCK = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });

function time(at: Date): string {
  return CLOCK.format(at);
}
