import type { Item } from '../suite.ts';
import { DIALS } from './dials.ts';
import { HANDSHAKE } from './handshake.ts';
import { HOSTILE } from './hostile.ts';
import { INLINE } from './inline.ts';
import { PRESSURE } from './pressure.ts';
import { PROXY } from './proxy.ts';
import { RECONNECT } from './reconnect.ts';
import { TRANSFERS } from './transfers.ts';
import { WARM } from './warm.ts';

/** Everything that is graded, in the order of the table. */
export const ITEMS: readonly Item[] = [
  ...HANDSHAKE,
  ...TRANSFERS,
  ...DIALS,
  ...PRESSURE,
  ...HOSTILE,
  ...RECONNECT,
  ...WARM,
  ...INLINE,
  ...PROXY,
];
