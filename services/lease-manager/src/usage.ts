import type { CommandReply, CommandRequest } from '@culvert/bus';
import { endOfDay, type LeaseStore } from '@culvert/lease-store';
import { inParallel } from './parallel.ts';

/** Adds a batch to what its devices have moved today. Cut in half and told again, it is counted once. */
export async function reportUsage(
  { instance, batch, entries }: CommandRequest<'usage.report'>,
  store: Pick<LeaseStore, 'usage'>,
): Promise<CommandReply<'usage.report'>> {
  const now = Date.now();
  const spent: string[] = [];
  await inParallel(entries, async ({ device, ...moved }) => {
    if (await store.usage.add(device, instance, batch, moved, now)) spent.push(device);
  });
  return { ok: true, spent, until: endOfDay(now) };
}
