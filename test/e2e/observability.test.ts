import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isErrorCode, VISITOR_OUTCOMES } from '@culvert/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findProgram, installSystemPackages } from '../../deploy/local/bin/system.mjs';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { client, tcpVisitor, until } from './support.ts';

const ROOT = join(import.meta.dirname, '../..');
const FOLDER = join(ROOT, 'deploy/observability');
/** Made by Prometheus itself. */
const NOT_OURS = new Set(['up']);
const CANARY_OUTCOMES = ['alive', 'refused', 'away', 'silent', 'dead', 'damped'];

const alerts = readFileSync(join(FOLDER, 'alerts.yml'), 'utf8');
const dashboards = readdirSync(join(FOLDER, 'grafana')).map((name) => readFileSync(join(FOLDER, 'grafana', name), 'utf8'));
const plotted = dashboards.flatMap((text) => {
  const { panels } = JSON.parse(text) as { panels: { title: string; targets?: { expr: string }[] }[] };
  return panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
});
const alertNames = [...alerts.matchAll(/- alert: (\w+)/g)].map(([, name]) => name ?? '');
const alertExpressions = [...alerts.matchAll(/^\s+expr: (.+)$/gm)].map(([, expr]) => expr ?? '');

/** Metrics in an expression: names before a selector, a range or an operator, functions and labels left out. */
function metricsOf(expr: string): string[] {
  const bare = expr
    .replace(/"[^"]*"/g, '""')
    .replace(/\b(?:by|without)\s*\([^)]*\)/g, '')
    .replace(/\{[^}]*\}/g, '');
  const names = [...bare.matchAll(/\b((?:culvert|process|nodejs)_\w+|up)\b/g)].map(([, name]) => name ?? '');
  return names.map((name) => name.replace(/_(?:bucket|sum|count)$/, ''));
}

const promtool = async (...args: string[]) => client(findProgram('promtool') ?? 'promtool', args);

beforeAll(async () => {
  await installSystemPackages(['observability']);
}, 300_000);

describe('the alert rules', () => {
  it('are accepted by promtool, and so is the example of a configuration', async () => {
    expect(await promtool('check', 'rules', join(FOLDER, 'alerts.yml'))).toMatchObject({ code: 0 });
    expect(await promtool('check', 'config', join(FOLDER, 'prometheus.yml'))).toMatchObject({ code: 0 });
  });

  it('fire on what they are for and are silent otherwise', async () => {
    const { code, stdout, stderr } = await promtool('test', 'rules', join(FOLDER, 'alerts.test.yml'));
    expect(stdout + stderr).toContain('SUCCESS');
    expect(code).toBe(0);
    const tests = readFileSync(join(FOLDER, 'alerts.test.yml'), 'utf8');
    const fired = new Set([...tests.matchAll(/alertname: (\w+)\s+exp_alerts:/g)].map(([, name]) => name));
    expect(alertNames.filter((name) => !fired.has(name))).toEqual([]);
  });

  it('each have an entry in the operating manual', () => {
    const manual = readFileSync(join(ROOT, 'docs/OPERATING.md'), 'utf8');
    expect(alertNames.length).toBeGreaterThan(10);
    expect(alertNames.filter((name) => !manual.includes(`| \`${name}\` |`))).toEqual([]);
  });

  it('and the dashboard name outcomes that exist', () => {
    const named = [...alertExpressions, ...plotted].flatMap((expr) => [...expr.matchAll(/outcome!?=~?"([^"]*)"/g)]);
    const outcomes = named.flatMap(([, list]) => (list ?? '').split('|'));
    const known = (outcome: string): boolean =>
      isErrorCode(outcome) || VISITOR_OUTCOMES.some((one) => one === outcome) || CANARY_OUTCOMES.includes(outcome);
    expect(outcomes.filter((outcome) => !known(outcome))).toEqual([]);
  });
});

describe('the dashboard', () => {
  it('asks in PromQL that Prometheus understands', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'culvert-promql-'));
    const rules = plotted.map((expr, i) => {
      return `      - {record: 'plotted:${i}', expr: '${expr.replaceAll('$__rate_interval', '1m').replaceAll("'", "''")}'}`;
    });
    const file = join(folder, 'plotted.yml');
    writeFileSync(file, `groups:\n  - name: plotted\n    rules:\n${rules.join('\n')}\n`);
    try {
      const { code, stderr } = await promtool('check', 'rules', file);
      expect(stderr).toBe('');
      expect(code).toBe(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('a running stack', () => {
  let stack: Stack;
  let agent: RunningAgent;
  let targets: Target[] = [];
  /** All that every process says. */
  let scraped = '';
  let host = '';

  const scrape = async (): Promise<string> => {
    const { services, nginx } = stack.readInfo() ?? stack.info;
    const urls = [...services, nginx].map(({ health }) => health.replace('/healthz', '/metrics'));
    const texts = await Promise.all(urls.map(async (url) => (await fetch(url, { signal: AbortSignal.timeout(10_000) })).text()));
    return texts.join('\n');
  };
  /** The sum of a metric over its series that have these labels. */
  const total = (name: string, ...labels: string[]): number =>
    scraped
      .split('\n')
      .filter((line) => (line.startsWith(`${name} `) || line.startsWith(`${name}{`)) && labels.every((one) => line.includes(one)))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);

  beforeAll(async () => {
    stack = await startStack({ tcpPorts: 20 });
    targets = [await startWebTarget(), await startTcpTarget(echo)];
    const token = await stack.addDevice('plotted-17');
    agent = await stack.runAgent({
      ...{ name: 'plotted-17', token },
      mappings: [`80=127.0.0.1:${targets[0]?.port}`, `tcp:7=127.0.0.1:${targets[1]?.port}`],
    });
    host = new URL(String(agent.endpoint(80).url)).hostname;
    expect((await stack.fetchHost(host)).status).toBe(200);
    expect((await stack.fetchHost(`nobody.${stack.info.domain}`)).status).toBe(404);
    expect((await tcpVisitor(agent.endpoint(7).public_port as number, 'hello')).data.toString()).toBe('hello');
    await until('everything is counted', async () => {
      scraped = await scrape();
      const counted = Math.min(total('culvert_visitor_seconds_count'), total('culvert_edge_request_seconds_count'));
      return counted >= 2 && total('culvert_events_relayed_total') > 0 ? true : undefined;
    });
  });
  afterAll(async () => {
    await agent?.stop();
    await stack?.stop();
    for (const target of targets) await target.close();
  });

  it('has every metric that a dashboard or an alert names', () => {
    const known = new Set([...scraped.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name));
    const named = new Set([...alertExpressions, ...plotted].flatMap(metricsOf));
    expect(named.size).toBeGreaterThan(50);
    expect([...named].filter((name) => !known.has(name) && !NOT_OURS.has(name))).toEqual([]);
  });

  it('counts what was done, at the edge and in each service', () => {
    expect(total('culvert_edge_requests_total', 'kind="visitor"', 'status="2xx"', 'outcome="ok"')).toBe(1);
    expect(total('culvert_edge_requests_total', 'kind="visitor"', 'outcome="not_found"')).toBe(1);
    expect(total('culvert_edge_request_seconds_count')).toBe(2);
    expect(total('culvert_edge_request_seconds_bucket', 'le="+Inf"')).toBe(2);
    expect(total('culvert_edge_first_byte_seconds_count')).toBe(1);
    expect(total('culvert_edge_store_up')).toBe(1);
    expect(total('culvert_visitors_total', 'outcome="ok"')).toBe(2);
    expect(total('culvert_visitor_stage_seconds_count', 'stage="splice"')).toBe(2);
    expect(total('culvert_transferred_bytes_total', 'direction="to_device"')).toBeGreaterThan(5);
    expect(total('culvert_control_handshake_seconds_count')).toBeGreaterThan(0);
    expect(total('culvert_leases', 'state="held"')).toBe(1);
    expect(total('culvert_leases', 'state="away"')).toBe(0);
    expect(total('culvert_ports_configured')).toBe(20);
    expect(total('culvert_ports_free')).toBe(18);
    expect(total('culvert_commands_asked_total', 'command="lease.acquire"', 'outcome="ok"')).toBe(1);
    expect(total('culvert_commands_served_total', 'command="listener.bind"', 'outcome="ok"')).toBeGreaterThan(0);
    expect(total('culvert_api_requests_total', 'route="/v1/devices"', 'status="2xx"')).toBe(1);
    expect(total('culvert_dependency_up')).toBe(2 * stack.info.services.length);
    expect(Math.abs(total('culvert_clock_difference_seconds'))).toBeLessThan(5);
  });

  it('counts what the thread for bulk moves, and what of it is not even read: an upload without masks, but not its echo', async () => {
    const before = { moved: total('culvert_bulk_bytes_total'), unread: total('culvert_kernel_bytes_total') };
    const sent = randomBytes(16_000_000);
    const unread = (): number => total('culvert_kernel_bytes_total') - before.unread;
    // The first bulk starts the thread, and may be over before it runs.
    for (let i = 0; i < 20 && unread() < 1_000_000; i++) {
      const { data } = await tcpVisitor(agent.endpoint(7).public_port as number, sent);
      expect(createHash('sha256').update(data).digest('hex')).toBe(createHash('sha256').update(sent).digest('hex'));
      scraped = await scrape();
    }
    expect(unread()).toBeGreaterThan(1_000_000);
    expect(total('culvert_bulk_bytes_total') - before.moved).toBeGreaterThan(unread());
  });

  it('lets idle services sleep: what watches them wakes none more than a few times a second', async () => {
    const wakes = (pid: number): number =>
      Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    const before = stack.info.services.map(({ id, pid }) => ({ id, pid, count: wakes(pid) }));
    const since = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    const seconds = (performance.now() - since) / 1_000;
    expect(before.length).toBeGreaterThan(4);
    for (const { id, pid, count } of before) expect((wakes(pid) - count) / seconds, id).toBeLessThan(60);
  });

  it('names no device, visitor or host in its labels', () => {
    expect(scraped.split('\n').filter((line) => line.includes('plotted-17') || line.includes(host))).toEqual([]);
  });
});
