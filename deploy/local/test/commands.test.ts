import { COMMANDS } from '@culvert/bus';
import { expect, it } from 'vitest';
import { SHARED_COMMANDS } from '../src/nats.ts';

it('every command that any instance serves is one that integrators are kept from hearing', () => {
  const named = Object.entries(SHARED_COMMANDS).flatMap(([group, verbs]) => verbs.map((verb) => `${group}.${verb}`));
  const served = Object.entries(COMMANDS).flatMap(([name, { to }]) => (to === 'shared' ? [name] : []));
  expect(named.sort()).toEqual(served.sort());
});
