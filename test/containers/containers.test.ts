import { expect, it } from 'vitest';
import { tcpVisitor, until } from '../e2e/support.ts';
import { ContainerSystem, engineAnswers } from '../harness/containers.ts';
import { startSystem } from '../harness/start.ts';
import { describeSystem, LIMITS } from '../harness/system-conformance.ts';
import { echo, startTcpTarget } from '../harness/targets.ts';
import { rollAll } from './rolling.ts';

const engine = await engineAnswers();
if (!engine)
  console.log('NOT CHECKED: a system of containers, for no Docker engine answers at DOCKER_HOST; processes stand for it');
describeSystem(
  engine ? 'containers' : 'processes, in the place of containers',
  () => startSystem({ env: LIMITS }),
  (system) => {
    it.skipIf(!process.env.CULVERT_PROMETHEUS_IMAGE)(
      'has a Prometheus of the profile observability that reaches every part',
      async () => {
        const containers = system();
        if (!(containers instanceof ContainerSystem)) return;
        const url = await containers.startPrometheus();
        const ask = async <T>(path: string): Promise<T> =>
          ((await (await fetch(`${url}/api/v1/${path}`, { signal: AbortSignal.timeout(10_000) })).json()) as { data: T }).data;
        await until(
          'all parts are up',
          async () => {
            const found = await ask<{ activeTargets: { health: string }[] }>('targets').catch(() => ({ activeTargets: [] }));
            return found.activeTargets.length === 6 && found.activeTargets.every(({ health }) => health === 'up')
              ? true
              : undefined;
          },
          180_000,
        );
        const { groups } = await ask<{ groups: { rules: { name: string; health: string }[] }[] }>('rules');
        const rules = groups.flatMap((group) => group.rules);
        expect(rules.length).toBeGreaterThan(10);
        expect(rules.filter(({ health }) => health === 'err')).toEqual([]);
      },
    );

    it.skipIf(!engine)('loses no request for a page while each container is replaced as the manual says', async () => {
      const containers = system();
      if (containers instanceof ContainerSystem) await rollAll(containers);
    });

    it.skipIf(!engine)('takes transfers of devices past the edge once transfers.yaml is beside compose.yaml', async () => {
      const containers = system();
      if (!(containers instanceof ContainerSystem)) return;
      await containers.publishListeners();
      const tcp = await startTcpTarget(echo);
      const token = await containers.addDevice('direct');
      const agent = containers.spawnAgent({ name: 'direct', token, mappings: [`tcp:22=127.0.0.1:${tcp.port}`] });
      try {
        await agent.event('ready', 180_000);
        const visit = async () =>
          (await tcpVisitor(agent.endpoint(22).public_port as number, 'past the edge')).data.toString() === 'past the edge';
        await until('a visitor is served', async () => ((await visit()) ? true : undefined), 180_000);
        // Warm ones stay open.
        const open = async () => {
          const counts = await Promise.all(['tcp-listener', 'tcp-listener-2'].map((one) => containers.connectionsAt(one, 8443)));
          return Math.max(...counts) > 0 ? true : undefined;
        };
        await until('a transfer at the published port', open, 180_000);
        expect(await visit()).toBe(true);
      } finally {
        await agent.kill();
        await tcp.close();
      }
    });
  },
);
