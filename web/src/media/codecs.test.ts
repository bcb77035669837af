import { describe, expect, test } from 'vitest';

import { allowedCodecs, keepAllowedCodecs, type VideoCodec } from './codecs.ts';

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
  test('keep what can be protected with its retransmission, and nothing else', () => {
    expect(keepAllowedCodecs(sdp(...SESSION, ...AUDIO, ...VIDEO))).toBe(
      sdp(
        ...SESSION,
        'm=audio 9 UDP/TLS/RTP/SAVPF 111',
        'c=IN IP4 0.0.0.0',
        'a=mid:0',
        'a=rtpmap:111 opus/48000/2',
        'a=rtcp-fb:111 transport-cc',
        'a=fmtp:111 minptime=10;useinbandfec=1',
        'm=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99',
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
      ),
    );
  });

  test('filtering twice changes nothing', () => {
    const once = keepAllowedCodecs(sdp(...SESSION, ...AUDIO, ...VIDEO));
    expect(keepAllowedCodecs(once)).toBe(once);
  });

  test('a section without a codec that can be protected is refused', () => {
    const video = ['m=video 9 UDP/TLS/RTP/SAVPF 98', 'a=rtpmap:98 H265/90000'];
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

test('H.264 has to be able to split its units, and repairs nothing that is not there', () => {
  const h264 = [
    'm=video 9 UDP/TLS/RTP/SAVPF 102 103 104 105 106 107',
    'a=rtpmap:102 H264/90000',
    'a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f',
    'a=rtpmap:103 rtx/90000',
    'a=fmtp:103 apt=102',
    'a=rtpmap:104 H264/90000',
    'a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f',
    'a=rtpmap:105 rtx/90000',
    'a=fmtp:105 apt=104',
    'a=rtpmap:106 H264/90000',
    'a=rtpmap:107 rtx/90000',
    'a=fmtp:107 apt=99',
  ];
  expect(keepAllowedCodecs(sdp(...SESSION, ...h264))).toBe(sdp(...SESSION, 'm=video 9 UDP/TLS/RTP/SAVPF 102 103', ...h264.slice(1, 5)));
});

describe('preferences', () => {
  const all = [
    { mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=0' },
    { mimeType: 'video/H264', sdpFmtpLine: 'profile-level-id=42e01f;packetization-mode=1' },
    ...['video/AV1', 'video/rtx', 'video/VP9', 'video/red', 'video/VP8', 'video/H265'].map((mimeType) => ({ mimeType })),
  ];
  const names = (preferred?: readonly VideoCodec[]): string[] => allowedCodecs('video', all, preferred).map(({ mimeType }) => mimeType.slice(6));

  test('name the same codecs, VP8 first', () => {
    expect(names()).toEqual(['VP8', 'VP9', 'AV1', 'H264', 'rtx']);
    expect(allowedCodecs('audio', [{ mimeType: 'audio/red' }, { mimeType: 'audio/opus' }])).toEqual([{ mimeType: 'audio/opus' }]);
  });

  test('follow what the application asks for, and keep the others behind it', () => {
    expect(names(['av1', 'vp9'])).toEqual(['AV1', 'VP9', 'VP8', 'H264', 'rtx']);
    // From JavaScript anything can come.
    expect(names(['h265' as VideoCodec])).toEqual(['VP8', 'VP9', 'AV1', 'H264', 'rtx']);
  });
});
