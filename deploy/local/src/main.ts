/**
 * The local stack, as `npm start` runs it. Exit codes: 0 stopped by a signal, 1 failed, 2 wrong settings.
 */
import { mkdirSync } from 'node:fs';
import { ConfigError } from '@culvert/service-kit';
import { LockedError, StateLock } from './lock.ts';
import { faultOfPublicPort } from './ports.ts';
import { loadSettings, type StackSettings } from './settings.ts';
import { Stack } from './stack.ts';
import { welcome } from './welcome.ts';

const say = (text: string): void => console.log(text);

function fail(text: string, code: number): never {
  console.error(text);
  process.exit(code);
}

let settings: StackSettings;
try {
  settings = loadSettings();
} catch (error) {
  if (error instanceof ConfigError) fail(error.message, 2);
  throw error;
}

let lock: StateLock;
try {
  mkdirSync(settings.stateDir, { recursive: true, mode: 0o700 });
  lock = await StateLock.take(settings.stateDir);
} catch (error) {
  if (error instanceof LockedError) fail(error.message, 2);
  fail(`CULVERT_STATE_DIR=${JSON.stringify(settings.stateDir)} cannot be used: ${(error as Error).message}`, 2);
}
const taken =
  (await faultOfPublicPort('CULVERT_PORT', settings.port)) ??
  (settings.tls === undefined ? undefined : await faultOfPublicPort('CULVERT_TLS_PORT', settings.tls.port));
if (taken !== undefined) {
  lock.release();
  fail(taken, 2);
}

const stack = new Stack(settings, lock, say);
let stopping = false;
/** The first signal counts: launcher and terminal may both deliver one. */
function stop(why: string, code: number): void {
  if (stopping) return;
  stopping = true;
  say(`\nstopping (${why})`);
  stack.stop().then(
    () => process.exit(code),
    (error) => fail(`the stop failed: ${error}`, 1),
  );
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop(signal, 0));
if (process.channel !== undefined) process.on('disconnect', () => stop('whoever started it is gone', 1));

try {
  const { info, demo } = await stack.start();
  if (!stopping) say(welcome(info, settings, demo));
} catch (error) {
  if (!stopping) {
    console.error(`\nThe stack does not start: ${(error as Error).message}`);
    stop('after a failed start', 1);
  }
}
