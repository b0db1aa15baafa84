import type { Seen } from './tally.ts';
import type { World } from './world.ts';

export interface Fault {
  name: string;
  /** Does the damage; resolves when it is over, which is when things may begin to mend. */
  inject(world: World): Promise<void>;
  /** What visitors must not have seen, one sentence each. */
  judge(seen: Seen, world: World): string[];
}
