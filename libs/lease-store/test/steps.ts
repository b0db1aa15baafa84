import type { DisconnectReason } from '@culvert/contracts';

export const DEVICES = ['d0', 'd1'] as const;
export const ACTORS = ['a', 'b'] as const;
export type Device = (typeof DEVICES)[number];
export type Actor = (typeof ACTORS)[number];

/** One step of one actor. An actor that crashes between two steps is one whose next step never comes. */
export type Step =
  | { do: 'begin'; actor: Actor; device: Device; boot: string; mayBeHeld: boolean; stale: boolean }
  | { do: 'reserve'; actor: Actor; device: Device; count: number; unusable: boolean }
  | { do: 'confirm'; actor: Actor; device: Device; keep: boolean }
  | { do: 'abandon'; actor: Actor; device: Device }
  /** Begin, reserve and confirm without a crash. */
  | { do: 'connect'; actor: Actor; device: Device; boot: string; count: number; keep: boolean }
  /** `age`: 0 for the actor's newest tenure, 1 for the one before: a late one. */
  | { do: 'release'; actor: Actor; device: Device; reason: DisconnectReason; age: number }
  | { do: 'advance'; device: Device; overdue: 'nothing' | 'lease' | 'all' }
  | { do: 'give up waiting'; device: Device }
  | { do: 'revoke'; device: Device }
  /** The store's clock is behind the epochs that it has given out. */
  | { do: 'clock back'; device: Device }
  | { do: 'cool down' }
  /** To other ports; `until`: where the mover crashes. */
  | { do: 'move'; device: Device; until: 'begun' | 'reserved' | 'moved' }
  /** Another listener serves the names for a while; `until`: where who arranges it crashes, or finds another tenure. */
  | { do: 'stand in'; device: Device; until: 'lent' | 'stale' | 'begun' }
  | { do: 'stand down'; device: Device }
  /** All data are gone; the living say what they hold. `silent`: the ingresses come too late. */
  | { do: 'lose'; silent: boolean; listenersFirst: boolean }
  /** An actor says that it holds its tenure, the newest or the one before. */
  | { do: 'reassert'; actor: Actor; device: Device; age: number };
