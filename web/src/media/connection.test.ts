import { afterEach, expect, test, vi } from 'vitest';

import { makeConnection } from './connection.ts';

class FakeConnection {
  static made: unknown;
  static remote: RTCSessionDescriptionInit | undefined;

  constructor(config: unknown) {
    FakeConnection.made = config;
  }

  async setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void> {
    FakeConnection.remote = description;
  }
}

afterEach(() => vi.unstubAllGlobals());

test('sends nothing by default, whatever the application asks for', () => {
  vi.stubGlobal('RTCPeerConnection', FakeConnection);
  makeConnection({ bundlePolicy: 'max-bundle', encodedInsertableStreams: false } as RTCConfiguration);
  expect(FakeConnection.made).toEqual({ bundlePolicy: 'max-bundle', encodedInsertableStreams: true });
});

test('takes other codecs out of descriptions from elsewhere, and refuses one that has no codec left', async () => {
  vi.stubGlobal('RTCPeerConnection', FakeConnection);
  const connection = makeConnection({});
  const head = 'v=0\r\n';
  await connection.setRemoteDescription({ type: 'offer', sdp: `${head}m=audio 9 X 109 9\r\na=rtpmap:109 opus/48000/2\r\na=rtcp-fb:9 nack\r\n` });
  expect(FakeConnection.remote).toEqual({ type: 'offer', sdp: `${head}m=audio 9 X 109\r\na=rtpmap:109 opus/48000/2\r\n` });
  await expect(connection.setRemoteDescription({ type: 'offer', sdp: `${head}m=audio 9 X 9\r\na=rtpmap:9 G722/8000\r\n` })).rejects.toMatchObject({ code: 'bad_signal' });
  // Taking an offer back has no description.
  await connection.setRemoteDescription({ type: 'rollback' });
  expect(FakeConnection.remote).toEqual({ type: 'rollback', sdp: '' });
});
