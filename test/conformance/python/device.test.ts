import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { serve, until } from '../../../agent/sdk/test/kit.ts';
import type { TestServer } from '../../../agent/sdk/test/server.ts';

type Line = { event: string } & Record<string, unknown>;

describe('the device in Python', () => {
  const dir = mkdtempSync(join(tmpdir(), 'culvert-python-'));
  const tokenFile = join(dir, 'token');
  beforeAll(() => writeFileSync(tokenFile, 'device-token\n'));
  afterAll(() => rmSync(dir, { recursive: true }));

  function run(server: TestServer, ...more: string[]): { child: ChildProcess; lines: Line[] } {
    const device = fileURLToPath(new URL('device.py', import.meta.url));
    const args = [
      device,
      '--server',
      server.url,
      '--name',
      'alice',
      '--token-file',
      tokenFile,
      '--ports',
      '80,tcp:7,tcp:9',
      ...more,
    ];
    const child = spawn('python3', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => {
      child.kill('SIGKILL');
    });
    const lines: Line[] = [];
    createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line) as Line));
    return { child, lines };
  }

  it('serves a page and an echo with half-close, refuses what it must, and says bye', async () => {
    const server = await serve();
    const { child, lines } = run(server, '--refuse', '9=local_timeout');
    const control = await server.control(0);
    await until('ready', () => lines.find(({ event }) => event === 'ready'));
    const page = await server.transfer(control, 80);
    page.send('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    await until('the END of the page', () => page.ended);
    expect(page.received.toString()).toContain('A device in Python');
    page.end();
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7) & 255));
    const echo = await server.transfer(control, 7);
    for (let at = 0; at < bytes.length; at += 60_000) echo.send(bytes.subarray(at, at + 60_000));
    echo.end();
    await until('the close', () => echo.closed);
    expect(echo.received.equals(bytes)).toBe(true);
    expect(echo.closed?.code).toBe(1000);
    expect(await server.dial(control, 9)).toBe('local_timeout');
    expect(await server.dial(control, 10)).toBe('not_allowed');
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
    await until('the close', () => control.closed);
    expect(control.messages.at(-1)).toMatchObject({ type: 'bye' });
  });

  it('exits with the status of a refusal, less 360', async () => {
    const server = await serve();
    server.refusals.push({ status: 409, code: 'name_in_use' });
    const { child, lines } = run(server);
    expect(await once(child, 'exit')).toEqual([49, null]);
    await until('its words', () => lines.find(({ event }) => event === 'refused'));
    expect(lines).toEqual([expect.objectContaining({ event: 'refused', status: 409, code: 'name_in_use' })]);
  });

  it('exits with 3 when it hears nothing for 2.5 heartbeats', async () => {
    const server = await serve({ heartbeatMs: 40 });
    const { child } = run(server);
    expect(await once(child, 'exit')).toEqual([3, null]);
  });
});
