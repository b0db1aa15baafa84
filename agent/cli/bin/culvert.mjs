#!/usr/bin/env node
// Plain JavaScript for Node 18 and newer: finds a Node that can run culvert, then runs it. On an older Node it starts the
// one of the package node-linux-*, forwards signals, keeps the exit code, and takes the child along when it is killed.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const source = new URL('../src/main.ts', import.meta.url);
const main = existsSync(source) ? source : new URL('../lib/main.js', import.meta.url);
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major > 22 || (major === 22 && minor >= 18)) await import(main.href);
else runWith(packagedNode());

function packagedNode() {
  const name = `node-${process.platform}-${process.arch}`;
  try {
    return createRequire(import.meta.url).resolve(`${name}/bin/node`);
  } catch {
    process.stderr.write(
      `culvert needs Node 22.18 or newer; this is ${process.versions.node}, and the package ${name} is not installed.\n` +
        `Install Node 24, or install culvert again without --omit=optional.\n`,
    );
    process.exit(1);
  }
}

function runWith(node) {
  const child = spawn(node, [fileURLToPath(main), ...process.argv.slice(2)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, CULVERT_LAUNCHED: '1' },
  });
  const forward = (signal) => child.kill(signal);
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'];
  for (const signal of signals) process.on(signal, forward);
  child.on('error', (err) => {
    process.stderr.write(`culvert cannot start ${node}: ${err.message}\n`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    for (const name of signals) process.off(name, forward);
    process.kill(process.pid, signal); // whoever waits for us sees the same ending
  });
}
