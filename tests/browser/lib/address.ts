/**
 * An address for media that is not the loopback address: Firefox and Janus never use that one. Most machines have one
 * anyway; a container without a network is given one for as long as it is needed.
 */

import { execFileSync } from 'node:child_process';
import { networkInterfaces } from 'node:os';

/** What is here, or why nothing is. */
export interface Address {
  /** Why there is none; absent when there is one. */
  readonly problem?: string;
  /** The address. */
  readonly address: string;
  /** Takes away what was made for this. */
  undo(): void;
}

const EXTRA = '10.99.0.1';
const GATEWAY = '10.99.0.254';
/** A network of its own, on a device without a wire; where the kernel has no such device, an address more on the loopback device. */
const WAYS = [
  { device: 'conclave0', make: [['link', 'add', 'conclave0', 'type', 'dummy'], ['link', 'set', 'conclave0', 'up']], remove: [['link', 'del', 'conclave0']] },
  {
    // Not every kernel has the first kind; of this one, both ends have to be up.
    device: 'conclave0',
    make: [['link', 'add', 'conclave0', 'type', 'veth', 'peer', 'name', 'conclave0b'], ['link', 'set', 'conclave0', 'up'], ['link', 'set', 'conclave0b', 'up']],
    remove: [['link', 'del', 'conclave0']],
  },
  { device: 'lo', make: [], remove: [['route', 'del', 'default', 'via', GATEWAY], ['addr', 'del', `${EXTRA}/24`, 'dev', 'lo']] },
] as const;

/** Finds or makes one. `onLoopback`: whether an address on the loopback device will do. */
export function mediaAddress({ onLoopback }: { readonly onLoopback: boolean }): Address {
  const found = ownAddress();
  if (found !== undefined) return { address: found, undo: () => {} };
  for (const { device, make, remove } of WAYS) {
    if (device === 'lo' && !onLoopback) continue;
    const undo = (): void => remove.forEach(ip);
    const commands = [...make, ['addr', 'add', `${EXTRA}/24`, 'dev', device], ['route', 'add', 'default', 'via', GATEWAY, 'dev', device]];
    if (commands.every(ip)) return { address: EXTRA, undo };
    undo();
  }
  return { address: '', problem: 'this machine has no address but its loopback address, which is used for no media, and none can be added', undo: () => {} };
}

function ownAddress(): string | undefined {
  for (const addresses of Object.values(networkInterfaces())) {
    for (const { internal, family, address } of addresses ?? []) if (!internal && family === 'IPv4') return address;
  }
  return undefined;
}

function ip(args: readonly string[]): boolean {
  try {
    execFileSync('ip', [...args], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
