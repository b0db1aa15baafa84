import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { findProgram, installSystemPackages } from '../../deploy/local/bin/system.mjs';
import { until } from '../e2e/support.ts';
import { freePort } from '../harness/servers.ts';
import { type Stack, startStack } from '../harness/system.ts';

/** A Prometheus of the machine's own, with our rules and configuration: only its targets and its paces are those of a test. */
const FOLDER = join(import.meta.dirname, '../../deploy/observability');
const dir = mkdtempSync(join(tmpdir(), 'culvert-prometheus-'));
let stack: Stack;
let prometheus: ChildProcess;
let port: number;

interface Target {
  health: string;
  labels: Record<string, string>;
}
interface Rule {
  name: string;
  health: string;
  state: string;
  lastError?: string;
  alerts: { labels: Record<string, string> }[];
}

async function ask<T>(path: string): Promise<T> {
  const response = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`, { signal: AbortSignal.timeout(10_000) });
  return ((await response.json()) as { data: T }).data;
}
const rules = async (): Promise<Rule[]> =>
  (await ask<{ groups: { rules: Rule[] }[] }>('rules')).groups.flatMap((group) => group.rules);
const firing = async (name: string): Promise<string[]> => {
  const rule = (await rules()).find((one) => one.name === name);
  return rule?.state === 'firing' ? rule.alerts.map(({ labels }) => labels.instance ?? '') : [];
};

beforeAll(async () => {
  await installSystemPackages(['observability']);
  stack = await startStack();
  const { services, nginx } = stack.info;
  const targets = [...services, nginx].map(({ health }) => `          - ${new URL(health).host}`).join('\n');
  const config = readFileSync(join(FOLDER, 'prometheus.yml'), 'utf8');
  const quick = config.replace('scrape_interval: 15s', 'scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s');
  writeFileSync(join(dir, 'prometheus.yml'), quick.replace(/(- targets:\n)[\s\S]*$/, `$1${targets}\n`));
  writeFileSync(join(dir, 'alerts.yml'), readFileSync(join(FOLDER, 'alerts.yml'), 'utf8').replace(/for: \d+m/g, 'for: 2s'));
  port = await freePort();
  const args = [
    `--config.file=${dir}/prometheus.yml`,
    `--storage.tsdb.path=${dir}/data`,
    `--web.listen-address=127.0.0.1:${port}`,
  ];
  prometheus = spawn(findProgram('prometheus') ?? 'prometheus', args, { stdio: 'ignore' });
}, 180_000);
afterAll(async () => {
  prometheus?.kill('SIGKILL');
  await stack?.stop();
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
}, 60_000);

it('Prometheus reaches every service and the edge, and understands all rules', async () => {
  const { services } = stack.info;
  await until(
    'all targets are up',
    async () => {
      const { activeTargets } = await ask<{ activeTargets: Target[] }>('targets').catch(() => ({ activeTargets: [] }));
      return activeTargets.length === services.length + 1 && activeTargets.every(({ health }) => health === 'up')
        ? true
        : undefined;
    },
    60_000,
  );
  await until(
    'all rules are judged',
    async () => ((await rules()).every(({ health }) => health === 'ok') ? true : undefined),
    60_000,
  );
  expect((await rules()).length).toBeGreaterThan(10);
  const ready = await ask<{ result: { metric: Record<string, string>; value: [number, string] }[] }>('query?query=culvert_ready');
  expect(ready.result.map(({ metric }) => metric.instance)).toEqual(expect.arrayContaining(services.map(({ id }) => id)));
}, 180_000);

it('an instance that stands still is alerted of, and no more once it goes on', async () => {
  const admin = stack.info.services.find(({ name }) => name === 'admin');
  const pid = admin?.pid ?? 0;
  process.kill(pid, 'SIGSTOP');
  try {
    const found = await until(
      'the alert',
      async () => {
        const instances = await firing('CulvertInstanceDown');
        return instances.length > 0 ? instances : undefined;
      },
      90_000,
    );
    expect(found).toHaveLength(1);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await until('its end', async () => ((await firing('CulvertInstanceDown')).length === 0 ? true : undefined), 90_000);
}, 240_000);
