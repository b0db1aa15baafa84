import { Command, CommanderError } from 'commander';
import { agentCommand } from './agent/agent-command.ts';
import { CommandError, EXIT, textOf } from './exit.ts';
import { forwardCommand } from './operator/access/forward-command.ts';
import { socksCommand } from './operator/access/socks-command.ts';
import { auditCommand } from './operator/audit-command.ts';
import { deviceCommands } from './operator/device-commands.ts';
import { domainCommands } from './operator/domain-commands.ts';
import { enrollKeyCommands } from './operator/enroll-key-commands.ts';
import { operatorCommands } from './operator/operator-commands.ts';
import { reachCommands } from './operator/reach-commands.ts';
import { shareCommand } from './operator/share-commands.ts';
import { instanceCommands } from './operator/steer-commands.ts';
import { watchCommands } from './operator/watch-commands.ts';
import { webhookCommands } from './operator/webhook-commands.ts';
import { version } from './version.ts';

if (process.env.CULVERT_LAUNCHED === '1' && process.channel) {
  // Started by the launcher on an older Node: when that is killed in a way it cannot forward, nothing may stay behind.
  process.on('disconnect', () => process.exit(EXIT.failed));
  process.channel.unref();
  delete process.env.CULVERT_LAUNCHED;
}

const program = new Command('culvert')
  .description('makes this machine reachable from the internet, and manages the devices that are')
  .version(version())
  .option(
    '--state-dir <dir>',
    'state directory of a running stack, for operator commands (default: CULVERT_STATE_DIR, then .culvert)',
  )
  .addCommand(agentCommand())
  .addCommand(deviceCommands())
  .addCommand(enrollKeyCommands())
  .addCommand(operatorCommands())
  .addCommand(instanceCommands())
  .addCommand(auditCommand())
  .addCommand(domainCommands())
  .addCommand(webhookCommands())
  .addCommand(shareCommand())
  .addCommand(forwardCommand())
  .addCommand(socksCommand());

for (const command of [...reachCommands(), ...watchCommands()]) program.addCommand(command);

for (const command of everyCommand(program)) command.exitOverride().showHelpAfterError('(add --help for the usage)');

try {
  await program.parseAsync();
} catch (err) {
  if (err instanceof CommanderError) process.exitCode = err.exitCode === 0 ? EXIT.ok : EXIT.usage;
  else {
    process.stderr.write(`culvert: ${textOf(err)}\n`);
    process.exitCode = err instanceof CommandError ? err.exitCode : EXIT.failed;
  }
}

function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}
