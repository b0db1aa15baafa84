import { HANDSHAKES } from './handshake-targets.ts';
import type { FuzzTarget } from './target.ts';
import { WIRE } from './wire-targets.ts';

/** Everything of ours that reads bytes of strangers and can be run by itself. */
export const TARGETS: readonly FuzzTarget[] = [...HANDSHAKES, ...WIRE];
