import { Command } from 'commander';
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

/** `culvert instance wind-down`. */
export function instanceCommands(): Command {
  const instance = new Command('instance').description('the running processes of the system (for operators)');
  subcommand(instance, 'wind-down <id>', 'let it take no new work, finish the old, and end').action(
    async (id: string, flags: Flags, command: Command) => {
      const answer = await callAdmin(admin(command), 'POST', `/v1/instances/${encodeURIComponent(id)}/wind-down`);
      say(flags, answer, `${id} winds down.`);
    },
  );
  return instance;
}
