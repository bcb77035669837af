import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { JanusSession, type PluginAnswer } from './janus_session.ts';
import { FakeJanus } from './testing/fake_janus.ts';

let janus: FakeJanus;
let closed: number;

beforeEach(() => {
  vi.useFakeTimers();
  janus = new FakeJanus();
  closed = 0;
});

afterEach(() => void vi.useRealTimers());

async function settled<T>(promise: Promise<T>, milliseconds = 100): Promise<T> {
  promise.catch(() => {});
  await vi.advanceTimersByTimeAsync(milliseconds);
  return promise;
}

const open = (): Promise<JanusSession> => settled(JanusSession.open(janus.connect(), () => (closed += 1)));

test('asks with a number of its own, and takes the answer behind the acknowledgement', async () => {
  const session = await open();
  const heard: PluginAnswer[] = [];
  const handle = await settled(session.attach({ event: (answer) => heard.push(answer), hangup() {} }));
  const { data, jsep } = await settled(handle.request({ request: 'publish' }, { type: 'offer', sdp: 'v=0' }));
  expect([data, jsep]).toEqual([{ videoroom: 'event', configured: 'ok' }, { type: 'answer', sdp: 'v=0' }]);
  expect(janus.sockets[0]?.sent.map(({ janus: name, session_id: id }) => [name, id])).toEqual([['create', undefined], ['attach', 5], ['message', 5]]);
  janus.say(11, { publishers: [] });
  janus.say(99, { publishers: ['of a handle that nobody has'] });
  expect(heard).toEqual([{ data: { publishers: [] } }]);
});

test('a refusal names the server’s reason and number, silence ends', async () => {
  const session = await open();
  const handle = await settled(session.attach({ event() {}, hangup() {} }));
  await expect(settled(handle.request({ request: 'join', room: 7 }))).rejects.toMatchObject({ code: 'media_server', cause: 426, message: 'The media server refused: No such room' });
  janus.silent = true;
  await expect(settled(handle.request({ request: 'configure' }), 10_100)).rejects.toMatchObject({ code: 'media_server', retryable: true });
});

test('keeps itself alive, and ends once: by the server, or by this side', async () => {
  await open();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(janus.sockets[0]?.sent.filter(({ janus: name }) => name === 'keepalive')).toHaveLength(2);
  janus.sockets[0]?.message({ janus: 'timeout' });
  expect(closed).toBe(1);
  const session = await open();
  const asked = session.attach({ event() {}, hangup() {} });
  session.close();
  await expect(asked).rejects.toMatchObject({ code: 'media_server' });
  expect(closed).toBe(1);
  expect(janus.sockets[1]?.sent.at(-1)?.janus).toBe('destroy');
  await expect(session.attach({ event() {}, hangup() {} })).rejects.toMatchObject({ code: 'media_server' });
});

test('what is no message of Janus changes nothing', async () => {
  await open();
  for (const data of ['', 'null', '[]', '{"janus":7}', '{', new ArrayBuffer(4)]) janus.sockets[0]?.tell('message', { data });
  expect(closed).toBe(0);
});

test('a server that is not there is said so', async () => {
  const socket = janus.connect();
  const opening = JanusSession.open(socket, () => (closed += 1));
  socket.close();
  await expect(settled(opening)).rejects.toMatchObject({ message: 'The media server cannot be reached.' });
});
