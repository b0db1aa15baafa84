import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../../../../../test/e2e/support.ts';

/** Where the board keeps its settings, in flash. */
const SETTINGS_AT = '0x3f000';

/** The firmware on an emulated LM3S6965 whose network is this machine's loopback, as 10.0.2.2. */
export class Board {
  readonly #folder = mkdtempSync(join(tmpdir(), 'culvert-board-'));
  readonly #child: ChildProcess;
  /** What it printed. */
  console = '';

  constructor(elf: string, settings: Record<string, string>) {
    const file = join(this.#folder, 'settings');
    const all = { seed: randomBytes(32).toString('hex'), ...settings };
    const lines = Object.entries(all).map(([key, value]) => `${key}=${value}\n`);
    writeFileSync(file, lines.join(''));
    const machine = ['-M', 'lm3s6965evb', '-nographic', '-monitor', 'none', '-serial', 'stdio', '-nic', 'user,model=stellaris'];
    const memory = ['-kernel', elf, '-device', `loader,file=${file},addr=${SETTINGS_AT},force-raw=on`];
    this.#child = spawn('qemu-system-arm', [...machine, ...memory], { stdio: ['ignore', 'pipe', 'pipe'] });
    const collect = (chunk: Buffer): void => {
      this.console += chunk.toString('latin1');
    };
    this.#child.stdout?.on('data', collect);
    this.#child.stderr?.on('data', collect);
    this.#child.once('error', (error) => {
      this.console += error.message;
    });
  }

  /** Waits until it has printed that, `times` times. */
  async says(text: string, times = 1, deadlineMs = 40_000): Promise<void> {
    try {
      await until(`"${text}"`, () => (this.console.split(text).length > times ? true : undefined), deadlineMs);
    } catch (error) {
      throw new Error(`the board did not print "${text}": ${this.console}`, { cause: error });
    }
  }

  /** Stands still, as by SIGSTOP, and goes on. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = new Promise((resolve) => this.#child.once('exit', resolve));
      this.#child.kill('SIGKILL');
      await exited;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
