import { Command } from 'commander';
import { agentCommand } from './agent/agent-command.ts';
import { completionCommand } from './completion/completion-command.ts';
import { doctorCommand } from './doctor/doctor-command.ts';
import { forwardCommand } from './operator/access/forward-command.ts';
import { socksCommand } from './operator/access/socks-command.ts';
import { auditCommand } from './operator/audit-command.ts';
import { deviceCommands } from './operator/device-commands.ts';
import { domainCommands } from './operator/domain-commands.ts';
import { enrollKeyCommands } from './operator/enroll-key-commands.ts';
import { eventsCommand } from './operator/events-command.ts';
import { instanceCommands } from './operator/instance-commands.ts';
import { operatorCommands } from './operator/operator-commands.ts';
import { portCommands } from './operator/port-commands.ts';
import { reachCommands } from './operator/reach-commands.ts';
import { shareCommand } from './operator/share-commands.ts';
import { watchCommands } from './operator/watch-commands.ts';
import { webhookCommands } from './operator/webhook-commands.ts';
import { version } from './version.ts';

const HELP = `
On a device: agent. On your own machine: the rest; each takes --json. Which server: --state-dir, or CULVERT_ADMIN_URL with
CULVERT_ADMIN_TOKEN and, for an authority of your own, CULVERT_CA_FILE.

Exit codes: 0 done, 1 refused or failed (the reason is on standard error), 2 usage, 4 the server cannot be reached,
5 the device cannot be reached, or was not so in time.`;

/** The whole command line. */
export function createProgram(): Command {
  const program = new Command('culvert')
    .description('makes this machine reachable from the internet, and manages the devices that are')
    .version(version())
    .option(
      '--state-dir <dir>',
      'state directory of a running stack, for operator commands (default: CULVERT_STATE_DIR, then .culvert)',
    )
    .addHelpText('after', HELP)
    .addCommand(agentCommand())
    .addCommand(deviceCommands())
    .addCommand(enrollKeyCommands())
    .addCommand(operatorCommands())
    .addCommand(instanceCommands())
    .addCommand(portCommands())
    .addCommand(auditCommand())
    .addCommand(domainCommands())
    .addCommand(webhookCommands())
    .addCommand(shareCommand())
    .addCommand(forwardCommand())
    .addCommand(socksCommand());
  for (const command of [...reachCommands(), ...watchCommands()]) program.addCommand(command);
  program
    .addCommand(eventsCommand())
    .addCommand(doctorCommand())
    .addCommand(completionCommand(() => program));
  for (const command of everyCommand(program)) command.exitOverride().showHelpAfterError('(add --help for the usage)');
  return program;
}

/** The command and all below it, each before those that follow it. */
export function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}
