import { Agent, request } from 'node:http';
import type { StackInfo } from './system.ts';

const REGISTERING_AT_ONCE = 32;

/** Registers many devices by the API; resolves to their tokens, in the order of the names. */
export async function registerDevices(info: StackInfo, names: readonly string[]): Promise<string[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: REGISTERING_AT_ONCE });
  const headers = { authorization: `Bearer ${info.adminToken}`, 'content-type': 'application/json' };
  const add = (name: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const asked = request(new URL('/v1/devices', info.admin), { method: 'POST', headers, agent }, (response) => {
        let body = '';
        response.on('data', (chunk: Buffer) => {
          body += chunk.toString();
        });
        response.on('end', () => {
          if (response.statusCode === 201) resolve((JSON.parse(body) as { token: string }).token);
          else reject(new Error(`adding ${name}: ${response.statusCode} ${body}`));
        });
      });
      asked.on('error', reject);
      asked.end(JSON.stringify({ name }));
    });
  const tokens: string[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < names.length) {
      const at = next++;
      tokens[at] = await add(names[at] ?? '');
    }
  };
  try {
    await Promise.all(Array.from({ length: REGISTERING_AT_ONCE }, lane));
  } finally {
    agent.destroy();
  }
  return tokens;
}
