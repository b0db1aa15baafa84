// Runs a TypeScript file under the Node 24 that npm installed, as if it were this very process.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from './packages.mjs';

const NEEDED_MAJOR = 24;

/** Path of a Node that strips types: the repository's own, or the running one where npm has none for the platform. */
export function findNode(root = repository) {
  const bundled = join(root, `node_modules/node-${process.platform}-${process.arch}/bin/node`);
  if (existsSync(bundled)) return bundled;
  if (Number(process.versions.node.split('.')[0]) >= NEEDED_MAJOR) return process.execPath;
  throw new Error(
    `Node ${NEEDED_MAJOR} is needed. npm installs it on Linux x64 and arm64; this is ${process.platform} ${process.arch} with ` +
      `Node ${process.versions.node}, so install Node ${NEEDED_MAJOR} or newer and start again.`,
  );
}

/**
 * Ends this process with the exit code of the entry. Signals are handed on; should this process be killed, the entry notices
 * by its IPC channel.
 */
export async function runEntry(entry, args) {
  const node = findNode();
  const path = `${join(node, '..')}:${process.env.PATH ?? ''}`;
  const child = spawn(node, [entry, ...args], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, PATH: path },
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  watchNpm(child);
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (status, signal) => resolve(status ?? (signal === 'SIGINT' ? 130 : 1)));
  });
  process.exit(code);
}

/** Runs an entry that ends by itself; throws when it fails. */
export async function runToEnd(entry) {
  const child = spawn(findNode(), [entry], { stdio: 'inherit' });
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (status, signal) => resolve(status ?? signal));
  });
  if (code !== 0) throw new Error(`${entry} failed (${code})`);
}

/** npm that is killed tells nobody: under npm, another parent means that it is gone. */
function watchNpm(child) {
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) child.kill('SIGTERM');
  }, 1_000).unref();
}
