/** The real relay and real native clients, each a process of its own on 127.0.0.1. */

import { spawn, type ChildProcess } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { createServer } from 'node:net';

import { remember } from './leftovers.ts';
import { PAGE, TARGET } from './paths.ts';

/** How long a program may take to stop before it is killed. */
const STOP_TIME = 5000;

/** A process and what it printed. */
export class Program {
  readonly #child: ChildProcess;
  /** Lines of standard output and standard error. */
  readonly lines: string[] = [];

  constructor(name: string, args: readonly string[], env: Readonly<Record<string, string>>) {
    this.#child = spawn(`${TARGET}/debug/${name}`, args, { env: { ...bareEnvironment(), ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      let rest = '';
      stream?.setEncoding('utf8').on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        this.lines.push(...lines);
      });
    }
  }

  /** The process ended by itself. */
  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Waits for a line of output. */
  async line(pattern: RegExp, milliseconds = 15_000): Promise<string> {
    return until(`a line like ${String(pattern)}, after:\n${this.lines.join('\n')}`, milliseconds, () => {
      const line = this.lines.find((text) => pattern.test(text));
      if (line === undefined && this.ended) throw new Error(`ended early:\n${this.lines.join('\n')}`);
      return line;
    });
  }

  /** Asks it to stop, as Ctrl-C does, and waits. */
  async stop(signal: 'SIGINT' | 'SIGKILL' = 'SIGINT'): Promise<void> {
    if (this.ended) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIME);
    await ended;
    clearTimeout(timer);
  }
}

/** A relay in development mode that serves the page. */
export class Relay {
  readonly url: string;
  readonly #program: Program;
  /** What it checks tokens with. */
  readonly secret: string;

  private constructor(url: string, secret: string, program: Program) {
    this.url = url;
    this.secret = secret;
    this.#program = program;
  }

  /** Starts one on a free port, or on the given one with the secret of the one that was there. */
  static async start(env: Readonly<Record<string, string>> = {}, port?: number, secret = randomBytes(32).toString('base64url')): Promise<Relay> {
    const chosen = port ?? (await freePort());
    const url = `http://127.0.0.1:${chosen}`;
    const settings = {
      CONCLAVE_LISTEN: `127.0.0.1:${chosen}`,
      CONCLAVE_WEB_DIR: PAGE,
      CONCLAVE_SECRET: secret,
      CONCLAVE_LOG: 'warn',
      // Everybody comes from one address here.
      CONCLAVE_MAX_NEW_PER_SECOND_PER_ADDRESS: '1000',
      ...env,
    };
    const program = new Program('conclave-server', env['CONCLAVE_DEV'] === 'false' ? [] : ['--dev'], settings);
    await until(`the relay at ${url}`, 15_000, async () => {
      if (program.ended) throw new Error(program.lines.join('\n'));
      return (await fetch(`${url}/healthz`).catch(() => undefined))?.ok;
    });
    return new Relay(url, secret, program);
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** What it has logged. */
  get log(): readonly string[] {
    return this.#program.lines;
  }

  /** An access token. */
  token(call: string, user: string, seconds = 600, role: 'member' | 'recorder' = 'member'): string {
    const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const exp = Math.floor(Date.now() / 1000) + seconds;
    const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ exp, sub: user, conclave: { call, role } })}`;
    const key = Buffer.from(this.secret, 'base64url');
    return `${body}.${createHmac('sha256', key).update(body).digest('base64url')}`;
  }

  /** A headless lead bot, leading. */
  async lead(call: string): Promise<Program> {
    return this.#native('lead', call);
  }

  /** A native member, holding a key; without files to publish it has no media. */
  async join(call: string, user: string, ...more: readonly string[]): Promise<Program> {
    return this.#native('join', call, '--user', user, ...more);
  }

  async #native(command: 'lead' | 'join', call: string, ...more: readonly string[]): Promise<Program> {
    const args = [command, '--url', this.url.replace('http', 'ws'), '--call', call, '--json', ...more];
    const program = new Program('conclave', args, { CONCLAVE_SECRET: this.secret, CONCLAVE_LOG: 'warn,rtc=error,webrtc=error,conclave_client::media=debug' });
    remember({ close: () => program.stop() });
    await program.line(/"epoch":\{/);
    return program;
  }

  async stop(): Promise<void> {
    await this.#program.stop();
  }
}

/** Polls until something is there. */
export async function until<T>(what: string, milliseconds: number, look: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  const end = Date.now() + milliseconds;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error(`waited ${milliseconds} ms for ${what}`);
    await pause(50);
  }
}

/** Waits. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** One line of the report. */
export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Variables of the person who runs the tests must not change what is tested. */
function bareEnvironment(): Record<string, string> {
  return Object.fromEntries(Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined && !entry[0].startsWith('CONCLAVE_')));
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject).listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => (typeof address === 'object' && address ? resolve(address.port) : reject(new Error('no port'))));
    });
  });
}
