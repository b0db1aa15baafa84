import { connectWebSocket, type UpgradedSocket } from '@culvert/relay';
import { targetOf } from './address.ts';
import type { Control } from './control.ts';
import type { Settings } from './options.ts';

export type OpenedTransfer = UpgradedSocket & { encrypted: boolean };

/** Opens a transfer connection of this path at the server of the control connection. Throws as `connectWebSocket`. */
export function openTransfer(settings: Settings, control: Control, path: string, signal: AbortSignal): Promise<OpenedTransfer> {
  return connectWebSocket(targetOf(settings, control.server, path, control.token, signal));
}
