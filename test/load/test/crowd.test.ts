import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tcpVisitor } from '../../e2e/support.ts';
import { freePort } from '../../harness/servers.ts';
import { type RunningAgent, type Stack, startStack } from '../../harness/system.ts';
import { echo, startTcpTarget, type Target } from '../../harness/targets.ts';

/** Far more at once than there are warm transfers, so that most are dialled while others come back. */
const AT_ONCE = 64;
const ROUNDS = 16;
const MOST_BYTES = 600_000;
const DEADLINE_MS = 60_000;

/** Every visitor gets back all of its own bytes, whatever way transfers go: no other's, none twice, and nobody waits for ever. */
describe.each([
  ['by the edge', { tls: false, published: false }],
  ['past the edge', { tls: false, published: true }],
  ['by the edge, over TLS', { tls: true, published: false }],
  ['past the edge, over TLS', { tls: true, published: true }],
])('a crowd of visitors by transfers %s', (_way, { tls, published }) => {
  let stack: Stack;
  let target: Target;
  let agent: RunningAgent;

  beforeAll(async () => {
    const port = published ? String(await freePort()) : '';
    const url = tls ? `wss://localhost:${port}` : `ws://127.0.0.1:${port}`;
    const unbounded = { CULVERT_LIMIT_NEW_VISITORS_PER_DEVICE: '100000', CULVERT_LIMIT_VISITORS_PER_ADDRESS: '1024' };
    const env = published ? { ...unbounded, CULVERT_TRANSFER_PORT: port, CULVERT_TRANSFER_URL: url } : unbounded;
    stack = await startStack({ tls, env });
    target = await startTcpTarget(echo);
    const token = await stack.addDevice('crowded');
    agent = await stack.runAgent({ name: 'crowded', token, mappings: [`tcp:7=127.0.0.1:${target.port}`] });
  }, 120_000);
  afterAll(async () => {
    await agent?.stop();
    await stack?.stop();
    await target?.close();
  });

  const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

  async function visit(): Promise<string> {
    const sent = randomBytes(1 + Math.floor(MOST_BYTES * Math.random() ** 4));
    const got = await tcpVisitor(agent.endpoint(7).public_port as number, sent, { deadlineMs: DEADLINE_MS });
    if (got.error !== undefined) return `${got.error} after ${got.data.length} of ${sent.length} bytes`;
    return got.ended && digest(got.data) === digest(sent) ? 'its own bytes' : `${got.data.length} bytes for ${sent.length}`;
  }

  it(`serves ${ROUNDS * AT_ONCE}, ${AT_ONCE} at a time`, async () => {
    const endings = new Map<string, number>();
    let left = ROUNDS * AT_ONCE;
    const one = async (): Promise<void> => {
      while (left-- > 0) {
        const ending = await visit();
        endings.set(ending, (endings.get(ending) ?? 0) + 1);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
    expect([...endings.keys()]).toEqual(['its own bytes']);
  }, 240_000);
});
