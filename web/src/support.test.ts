import { expect, test } from 'vitest';

import { deviceName } from './client.ts';
import { ConclaveError } from './errors.ts';
import { relayAddress, unsupported } from './support.ts';

const able = {
  isSecureContext: true,
  Worker: class {},
  WebAssembly: {},
  WebSocket: class {},
  crypto: { getRandomValues: () => {} },
  RTCPeerConnection: class {},
  RTCRtpScriptTransform: class {},
};

test('a browser that has everything may join', () => {
  expect(unsupported(able)).toBeUndefined();
});

test('a page without https is told that, and nothing else', () => {
  expect(unsupported({ WebAssembly: {} })?.code).toBe('insecure_context');
});

test('what is missing is named', () => {
  const error = unsupported({ ...able, RTCRtpScriptTransform: undefined });
  expect(error?.code).toBe('unsupported_browser');
  expect(error?.message).toContain('it has no RTCRtpScriptTransform.');
});

test('any address of the relay will do', () => {
  expect(relayAddress('http://127.0.0.1:8080/')).toBe('ws://127.0.0.1:8080/v1/ws');
  expect(relayAddress('https://relay.example/?call=demo#token=secret')).toBe('wss://relay.example/v1/ws');
  expect(relayAddress('wss://relay.example/behind/proxy')).toBe('wss://relay.example/behind/proxy');
});

test('other addresses are refused', () => {
  for (const url of ['', 'relay', 'ftp://relay.example']) expect(() => relayAddress(url)).toThrow(ConclaveError);
});

test('a device is called what a person would call it', () => {
  expect(deviceName('Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0 Safari/537.36')).toBe('Chrome on Linux');
  expect(deviceName('Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile Safari/604.1')).toBe('Safari on iOS');
  expect(deviceName('')).toBe('Browser');
});
