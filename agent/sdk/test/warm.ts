import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'vitest';
import { until } from './kit.ts';
import type { TestControl, TestServer } from './server.ts';

/** Far more than agents wait before they open what is missing. */
const SETTLED_MS = 300;

/** Agents in all languages keep 4 at first, twice as many after each visitor who found none, 16 at most, and 4 again after a long rest. */
export async function growWithVisitors(server: TestServer, control: TestControl): Promise<void> {
  server.warm = [];
  const open = (): number => server.warm?.filter(({ closed }) => closed === undefined).length ?? 0;
  const dialled = async (count: number): Promise<void> => {
    const visitor = await server.transfer(control, 7);
    visitor.end();
    await until('the end of the visitor', () => visitor.closed);
    await until(`${count} warm transfers`, () => open() === count);
    await pause(SETTLED_MS);
    expect(open()).toBe(count);
  };
  for (const count of [4, 8, 16, 16]) await dialled(count);
  for (const { socket } of server.warm) socket.close(1000);
  await until('their end', () => open() === 0);
  await dialled(4);
}
