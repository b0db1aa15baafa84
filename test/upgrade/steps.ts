import { join } from 'node:path';
import { Redis } from 'ioredis';
import { findProgram } from '../../deploy/local/bin/system.mjs';
import { planEdge } from '../../deploy/local/src/edge.ts';
import { Memory } from '../../deploy/local/src/memory.ts';
import { planNats } from '../../deploy/local/src/nats.ts';
import { planRedis } from '../../deploy/local/src/redis.ts';
import { loadSettings } from '../../deploy/local/src/settings.ts';
import type { Stack } from '../harness/system.ts';

const BACK_MS = 90_000;

/** This version's users and rights, in the running Redis and NATS: first of all, for new services may need new ones. */
export async function renewRights({ stateDir, env, info }: Stack): Promise<void> {
  const settings = loadSettings({ ...env });
  const memory = new Memory(stateDir);
  planRedis(findProgram('redis-server') ?? '', stateDir, Number(new URL(info.redis.address).port), memory);
  planNats(findProgram('nats-server') ?? '', stateDir, Number(new URL(info.natsServer.address).port), settings.limits, memory);
  memory.save();
  const redis = new Redis(info.redis.address);
  try {
    await redis.acl('LOAD');
  } finally {
    redis.disconnect();
  }
  process.kill(info.natsServer.pid, 'SIGHUP');
}

/** SIGTERM to one instance; back once its successor says that it is ready. */
export async function restartInstance(stack: Stack, id: string): Promise<void> {
  const find = (): { pid: number; health: string } | undefined => stack.info.services.find((one) => one.id === id);
  const before = find()?.pid ?? 0;
  process.kill(before, 'SIGTERM');
  const until = performance.now() + BACK_MS;
  for (let last = 'it runs on'; ; ) {
    const now = find();
    if (now !== undefined && now.pid !== before) {
      const answer = await fetch(now.health.replace('/healthz', '/readyz'), { headers: { connection: 'close' } }).catch(
        () => undefined,
      );
      if (answer?.status === 200) return;
      last = answer === undefined ? 'it does not answer' : `it says ${answer.status}: ${await answer.text()}`;
    }
    if (performance.now() > until) throw new Error(`${id} is not back after ${BACK_MS} ms: ${last}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** The edge's files of this version, and a reload: its former workers finish what they have. */
export function reloadEdge({ stateDir, env, info }: Stack): void {
  const memory = new Memory(stateDir);
  const redis = planRedis('', stateDir, Number(new URL(info.redis.address).port), memory);
  const secrets = {
    redisUrl: redis.urlOf('edge'),
    edgeSecret: memory.secret('edge'),
    healthPort: Number(new URL(info.nginx.health).port),
  };
  planEdge(findProgram('nginx') ?? 'nginx', loadSettings({ ...env }), secrets, undefined);
  process.kill(info.nginx.pid, 'SIGHUP');
}

/** The command line of the version in that folder. */
export const agentOf = (folder: string): string[] => [process.execPath, join(folder, 'agent/cli/bin/culvert.mjs'), 'agent'];
