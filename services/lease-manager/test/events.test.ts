import { EVENT_DATA } from '@culvert/bus';
import { expect, it } from 'vitest';
import { Stack } from './stack.ts';

it('every event of a life has the fields that its type promises', async () => {
  const stack = await Stack.start({ GRACE_MS: 300, SWEEP_MS: 50, RECONNECTING_MS: 100, INSTANCE_TTL_MS: 1_000 });
  try {
    await stack.listener('tcp-listener-1', [30_000, 30_001]);
    const ingress = await stack.ingress('ws-ingress-1');
    await stack.service('port-allocator');
    await stack.service('lease-manager');
    await stack.addDevice('alice');
    await stack.addDevice('bob');
    await stack.granted('alice', { boot: 'x' });
    expect(await stack.acquire('alice', { boot: 'y' })).toMatchObject({ code: 'name_in_use' });
    ingress.holder = 'dead';
    await stack.granted('alice', { boot: 'y' });
    await stack.granted('alice', { boot: 'y' });
    expect(await stack.acquire('bob')).toMatchObject({ code: 'ports_exhausted' });
    await ingress.stop();
    expect((await stack.eventsOf('alice', 11)).at(-1)).toBe('lease.expired grace_over');
    const types = new Set<string>();
    for (const { id, type, subject, data } of await stack.events()) {
      types.add(type);
      const wanted = Object.keys(EVENT_DATA[type].properties).filter((field) => field !== 'previous_epoch');
      expect(Object.keys(data)).toEqual(expect.arrayContaining(wanted));
      expect(id.split(':').slice(1)).toEqual([subject, String(data.epoch), String(data.seq)]);
    }
    expect([...types].sort()).toEqual([
      ...['device.connected', 'device.disconnected', 'device.refused', 'instance.gone', 'lease.expired', 'lease.grace'],
      ...['lease.granted', 'lease.resumed', 'ports.exhausted'],
    ]);
  } finally {
    await stack.stop();
  }
}, 40_000);
