/** The real Janus, started as `make janus` starts it. */

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';

import { mediaAddress } from './address.ts';
import { ROOT } from './paths.ts';
import { freePort, until } from './programs.ts';

/** Why there can be no Janus here; `undefined` when there can. `undo` takes away what was made for it. */
export function janusProblem(): { readonly problem?: string; undo(): void } {
  const isHere = (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(`${folder}/janus`));
  if (!isHere) return { problem: 'no Janus here; on Debian: apt-get install janus', undo: () => {} };
  return mediaAddress({ onLoopback: false });
}

/** A running server. */
export class Janus {
  readonly url: string;
  readonly #child: ChildProcess;

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.#child = child;
  }

  static async start(): Promise<Janus> {
    const port = await freePort();
    const child = spawn(`${ROOT}.ci/janus`, [], { env: { ...process.env, JANUS_PORT: String(port) }, stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    await until('Janus', 15_000, () => {
      if (child.exitCode !== null) throw new Error(`Janus did not start: ${said}`);
      return said.includes('signalling on');
    });
    return new Janus(`ws://127.0.0.1:${port}`, child);
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGTERM');
    await ended;
  }
}
