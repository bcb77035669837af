import { describe, expect, test } from 'vitest';

import { allowedCodecs, keepAllowedCodecs } from './codecs.ts';

const sdp = (...lines: string[]): string => [...lines, ''].join('\r\n');

const SESSION = ['v=0', 'o=- 1 2 IN IP4 127.0.0.1', 's=-', 't=0 0', 'a=group:BUNDLE 0 1'];
const AUDIO = [
  'm=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 13 110',
  'c=IN IP4 0.0.0.0',
  'a=mid:0',
  'a=rtpmap:111 opus/48000/2',
  'a=rtcp-fb:111 transport-cc',
  'a=fmtp:111 minptime=10;useinbandfec=1',
  'a=rtpmap:63 red/48000/2',
  'a=fmtp:63 111/111',
  'a=rtpmap:9 G722/8000',
  'a=rtpmap:0 PCMU/8000',
  'a=rtpmap:13 CN/8000',
  'a=rtpmap:110 telephone-event/48000',
];
const VIDEO = [
  'm=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 116 117',
  'a=mid:1',
  'a=rtpmap:96 VP8/90000',
  'a=rtcp-fb:96 nack pli',
  'a=rtcp-fb:* transport-cc',
  'a=rtpmap:97 rtx/90000',
  'a=fmtp:97 apt=96',
  'a=rtpmap:98 VP9/90000',
  'a=fmtp:98 profile-id=0',
  'a=rtpmap:99 rtx/90000',
  'a=fmtp:99 apt=98',
  'a=rtpmap:116 red/90000',
  'a=rtpmap:117 ulpfec/90000',
];

describe('descriptions', () => {
  test('keep VP8 with its retransmission, and Opus, and nothing else', () => {
    expect(keepAllowedCodecs(sdp(...SESSION, ...AUDIO, ...VIDEO))).toBe(
      sdp(
        ...SESSION,
        'm=audio 9 UDP/TLS/RTP/SAVPF 111',
        'c=IN IP4 0.0.0.0',
        'a=mid:0',
        'a=rtpmap:111 opus/48000/2',
        'a=rtcp-fb:111 transport-cc',
        'a=fmtp:111 minptime=10;useinbandfec=1',
        'm=video 9 UDP/TLS/RTP/SAVPF 96 97',
        'a=mid:1',
        'a=rtpmap:96 VP8/90000',
        'a=rtcp-fb:96 nack pli',
        'a=rtcp-fb:* transport-cc',
        'a=rtpmap:97 rtx/90000',
        'a=fmtp:97 apt=96',
      ),
    );
  });

  test('filtering twice changes nothing', () => {
    const once = keepAllowedCodecs(sdp(...SESSION, ...AUDIO, ...VIDEO));
    expect(keepAllowedCodecs(once)).toBe(once);
  });

  test('a section without a codec that can be protected is refused', () => {
    const video = ['m=video 9 UDP/TLS/RTP/SAVPF 98', 'a=rtpmap:98 VP9/90000'];
    expect(() => keepAllowedCodecs(sdp(...SESSION, ...video))).toThrow('no video codec');
    // A static payload type needs no rtpmap to mean something to a browser.
    expect(() => keepAllowedCodecs(sdp(...SESSION, 'm=audio 9 UDP/TLS/RTP/SAVPF 0'))).toThrow('no audio codec');
  });

  test('sections that are off, and those that carry no frames, stay', () => {
    const off = sdp(...SESSION, 'm=video 0 UDP/TLS/RTP/SAVPF 0', 'm=application 9 UDP/DTLS/SCTP webrtc-datachannel', 'a=sctp-port:5000');
    expect(keepAllowedCodecs(off)).toBe(off);
  });

  test('a section with port 0 that travels in the bundle of another is filtered like every other', () => {
    const bundled = ['m=video 0 UDP/TLS/RTP/SAVPF 120 121', 'a=bundle-only', 'a=rtpmap:120 VP8/90000', 'a=rtcp-fb:99 nack pli', 'a=rtpmap:121 red/90000'];
    expect(keepAllowedCodecs(sdp(...SESSION, ...bundled))).toBe(
      sdp(...SESSION, 'm=video 0 UDP/TLS/RTP/SAVPF 120', 'a=bundle-only', 'a=rtpmap:120 VP8/90000'),
    );
  });

  test('lines of payload types that no section names go too', () => {
    const stale = sdp(...SESSION, 'm=video 9 UDP/TLS/RTP/SAVPF 96', 'a=rtpmap:96 VP8/90000', 'a=rtcp-fb:98 nack');
    expect(keepAllowedCodecs(stale)).not.toContain('98');
  });
});

test('preferences name the same codecs', () => {
  const all = ['video/VP8', 'video/rtx', 'video/VP9', 'video/H264', 'video/red'].map((mimeType) => ({ mimeType }));
  expect(allowedCodecs('video', all).map(({ mimeType }) => mimeType)).toEqual(['video/VP8', 'video/rtx']);
  expect(allowedCodecs('audio', [{ mimeType: 'audio/opus' }, { mimeType: 'audio/red' }])).toEqual([{ mimeType: 'audio/opus' }]);
});
