import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { acquire, digest, type StoreFixture, startStore } from './fixture.ts';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await startStore();
});
afterAll(() => fixture.stop());
beforeEach(() => fixture.reset());

const POLICY = { collection: 'policy', id: 'alice' };
/** As after a restart of the server, which may lack what was acknowledged. */
const unsettle = (): Promise<unknown> => fixture.redis.hset('store:primary', 'replid', 'another');
const settle = async (): Promise<void> => {
  const replid = await fixture.store.succession.unsettled();
  await fixture.store.succession.settle(replid as string, '0');
};
const device = (generation: number, more: object = {}) => ({
  ...{ device: 'alice', token_digest: digest('alice'), created_at: 1, revoked: false, generation },
  ...more,
});

describe('a store that may be behind the copies of operators’ data', () => {
  it('takes no write of an operator before it has caught up', async () => {
    const { store } = fixture;
    await store.devices.add('alice', digest('alice'));
    await unsettle();
    const recovering = { code: 'recovering' };
    await expect(store.devices.add('bob', digest('bob'))).rejects.toMatchObject(recovering);
    await expect(store.devices.rotate('alice', digest('next'))).rejects.toMatchObject(recovering);
    await expect(store.kept.put(POLICY, '{}', {})).rejects.toMatchObject(recovering);
    await expect(store.kept.delete(POLICY)).rejects.toMatchObject(recovering);
    await settle();
    expect((await store.kept.put(POLICY, '{}', {})).verdict).toBe('ok');
  });

  it('takes over what is newer there, by generation and revision, and nothing once it is settled', async () => {
    const { store } = fixture;
    await store.devices.add('alice', digest('alice'));
    const { revision } = await store.kept.put(POLICY, '"first"', {});
    const record = (json: string, of: number) => ({ ...POLICY, json, revision: of, expiresAt: null });
    expect(await store.recovery.load([device(7)])).toEqual([]);
    expect(await store.kept.load([record('"late"', revision + 1)])).toEqual([]);

    await unsettle();
    expect(await store.recovery.load([device(1)])).toEqual([]);
    const next = device(2, { token_digest: digest('next') });
    expect(await store.recovery.load([next])).toEqual([next]);
    expect(await store.devices.authenticate('alice', digest('alice'))).toBe('unauthorized');
    expect(await store.devices.authenticate('alice', digest('next'))).toBe('ok');
    expect(await fixture.redis.exists(`token:${digest('alice')}`)).toBe(0);
    await store.recovery.load([device(3, { token_digest: digest('next'), revoked: true })]);
    expect(await store.devices.authenticate('alice', digest('next'))).toBe('unauthorized');

    expect(await store.kept.load([record('"older"', revision - 1)])).toEqual([]);
    expect(await store.kept.load([record('"newer"', revision + 1)])).toHaveLength(1);
    expect((await store.kept.get('policy', 'alice'))?.json).toBe('"newer"');
  });

  it('drops what was removed there, unless it was written anew and has no copy yet', async () => {
    const { store } = fixture;
    const first = await store.kept.put(POLICY, '"first"', {});
    await unsettle();
    expect(await store.kept.drop(POLICY, first.revision - 1)).toBe(false);
    await store.kept.mirrored(POLICY, String(first.revision));
    expect(await store.kept.drop(POLICY, first.revision + 1)).toBe(true);
    expect(await store.kept.drop(POLICY, first.revision + 1)).toBe(false);
    expect((await store.kept.list('policy', { limit: 10 })).records).toEqual([]);
    await settle();
    await store.kept.put(POLICY, '"again"', {});
    expect(await store.kept.drop(POLICY, Number.MAX_SAFE_INTEGER)).toBe(false); // it is settled
  });

  it('knows how far it has read, of one stream', async () => {
    const { kept } = fixture.store;
    expect(await kept.position()).toBeUndefined();
    await kept.reached({ stream: 'a', sequence: 5 });
    await kept.reached({ stream: 'a', sequence: 3 });
    expect(await kept.position()).toEqual({ stream: 'a', sequence: 5 });
    await kept.reached({ stream: 'b', sequence: 2 });
    expect(await kept.position()).toEqual({ stream: 'b', sequence: 2 });
  });

  it('names whose end it has lost when a port is asserted under a newer epoch', async () => {
    const { store } = fixture;
    for (const name of ['alice', 'bob']) await store.devices.add(name, digest(name));
    const { epoch, endpoints } = await acquire(fixture, 'alice');
    const { lease } = await store.leases.get('alice');
    const said = {
      ...{
        ...lease,
        device: 'bob',
        epoch: epoch + 1,
        endpoints: lease?.endpoints.map((one) => ({ ...one, host: `b-${one.host}` })),
      },
      token_digest: digest('bob'),
    } as unknown as Parameters<typeof store.leases.restore>[0];
    const lost = { verdict: 'lost', code: 'lease_lost' };
    expect(await store.leases.restore({ ...said, epoch: epoch - 1 }, 'ingress', '127.0.0.1')).toEqual({
      ...lost,
      over: undefined,
    });
    const over = { device: 'alice', epoch };
    expect(await store.leases.restore(said, 'ingress', '127.0.0.1')).toEqual({ ...lost, over });
    expect(await store.leases.endOver('alice', epoch + 1)).toBe(false);
    expect(await store.leases.endOver('alice', epoch)).toBe(true);
    expect((await store.leases.restore(said, 'ingress', '127.0.0.1')).verdict).toBe('restored');
    const held = await fixture.redis.hgetall(`ports:${lease?.listener}:held`);
    expect(held).toEqual(Object.fromEntries(endpoints.map(({ public_port }) => [String(public_port), `bob ${epoch + 1}`])));
  });
});
