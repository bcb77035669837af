import { afterEach, describe, expect, test, vi } from 'vitest';

import type { WorkerLike } from '../link.ts';
import type { ToWorker } from '../worker/protocol.ts';
import { attach, wayOf } from './attachment.ts';

class Old {
  createEncodedStreams(): void {}
}
class Plain {}

describe('the rule', () => {
  test('takes the standard’s way where there is one, whatever else there is', () => {
    expect(wayOf({ RTCRtpScriptTransform: class {}, RTCRtpSender: Old, RTCRtpReceiver: Old })).toBe('script');
    expect(wayOf({ RTCRtpScriptTransform: class {}, RTCRtpSender: Plain, RTCRtpReceiver: Plain })).toBe('script');
  });

  test('takes the older way where both ends have it', () => {
    expect(wayOf({ RTCRtpSender: Old, RTCRtpReceiver: Old })).toBe('streams');
    expect(wayOf({ RTCRtpSender: Old, RTCRtpReceiver: Plain })).toBeUndefined();
    expect(wayOf({ RTCRtpSender: Plain, RTCRtpReceiver: Old })).toBeUndefined();
  });

  test('finds none where there is none', () => {
    expect(wayOf({ RTCRtpSender: Plain, RTCRtpReceiver: Plain })).toBeUndefined();
    expect(wayOf({})).toBeUndefined();
  });
});

describe('attaching', () => {
  const options = { kind: 'seal', id: 7 } as const;
  const sent: [ToWorker, readonly unknown[] | undefined][] = [];
  const worker = { postMessage: (message: ToWorker, transfer?: readonly unknown[]) => sent.push([message, transfer]) } as unknown as WorkerLike;

  afterEach(() => {
    vi.unstubAllGlobals();
    sent.length = 0;
  });

  test('gives the end a transform that runs in the worker', () => {
    vi.stubGlobal('RTCRtpScriptTransform', class { readonly made: unknown[]; constructor(...made: unknown[]) { this.made = made; } });
    const sender = {} as RTCRtpSender;
    attach(worker, sender, options);
    expect(sender.transform).toMatchObject({ made: [worker, options] });
    expect(sent).toEqual([]);
  });

  test('moves the older streams to the worker', () => {
    const streams = { readable: new ReadableStream(), writable: new WritableStream() };
    attach(worker, { createEncodedStreams: () => streams } as unknown as RTCRtpSender, options, 'streams');
    expect(sent).toEqual([[{ type: 'streams', options, ...streams }, [streams.readable, streams.writable]]]);
  });

  test('says so when the browser refuses, or has no way at all', () => {
    const refusing = { createEncodedStreams() { throw new DOMException('too late', 'InvalidStateError'); } } as unknown as RTCRtpSender;
    for (const way of ['streams', undefined] as const) {
      expect(() => attach(worker, refusing, options, way)).toThrow(expect.objectContaining({ code: 'not_protectable' }));
    }
    expect(sent).toEqual([]);
  });
});
