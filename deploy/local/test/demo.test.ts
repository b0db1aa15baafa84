import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type Stack, startStack } from '@culvert/test/harness/system.ts';
import { describe, expect, it } from 'vitest';

interface DeviceView {
  state: string;
  endpoints: { scheme: string; url?: string; host: string; public_port: number }[];
}

const demoOf = async (stack: Stack): Promise<DeviceView> => (await stack.admin('GET', '/v1/devices/demo')).body;

async function echoed(port: number, words: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.setTimeout(15_000, () => socket.destroy(new Error('no echo')));
  socket.end(words);
  return text(socket);
}

describe('the demo device', () => {
  it('is reached by name and by port, and keeps both over a restart and over a kill -9 of the stack', async () => {
    const stateDir = mkdtempSync(join(tmpdir(), 'culvert-demo-'));
    const settings = { CULVERT_DEMO: '1' };
    let ports: Record<string, string> = {};
    let known: { url: string | null; echo: number | undefined } | undefined;
    try {
      for (const end of ['SIGTERM', 'SIGKILL', 'SIGTERM'] as const) {
        const stack = await startStack({ stateDir, env: { ...settings, ...ports } });
        ports = { CULVERT_PORT: stack.env.CULVERT_PORT ?? '', CULVERT_TCP_PORTS: stack.env.CULVERT_TCP_PORTS ?? '' };
        const url = stack.info.demo;
        const page = await stack.fetchHost(new URL(url ?? '').host);
        expect(page.status).toBe(200);
        expect(page.body).toContain('This page comes from a device');
        const echo = (await demoOf(stack)).endpoints.find(({ scheme }) => scheme === 'tcp')?.public_port;
        expect(await echoed(echo ?? 0, 'any bytes')).toBe('any bytes');
        known ??= { url, echo };
        expect({ url, echo }).toEqual(known);
        await stack.stop(end);
      }
    } finally {
      rmSync(stateDir, { recursive: true, force: true });
    }
  }, 180_000);
});
