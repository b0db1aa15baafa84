import type { Command } from 'commander';
import { callAdmin } from './admin-api.ts';
import { admin, devicePath, type Flags, say, subcommand } from './command-kit.ts';

/** `culvert device disconnect`. */
export function addSteering(device: Command): void {
  subcommand(device, 'disconnect <name>', 'end its control connection; it may come back at once').action(
    async (name: string, flags: Flags, command: Command) => {
      const answer = (await callAdmin(admin(command), 'POST', devicePath(name, '/disconnect'))) as { disconnected: boolean };
      say(flags, answer, answer.disconnected ? `${name} is disconnected.` : `${name} was not connected.`);
    },
  );
}
