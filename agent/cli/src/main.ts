import { CommanderError } from 'commander';
import { CommandError, EXIT, textOf } from './exit.ts';
import { createProgram } from './program.ts';

if (process.env.CULVERT_LAUNCHED === '1' && process.channel) {
  // Started by the launcher on an older Node: when that is killed in a way it cannot forward, nothing may stay behind.
  process.on('disconnect', () => process.exit(EXIT.failed));
  process.channel.unref();
  delete process.env.CULVERT_LAUNCHED;
}

try {
  await createProgram().parseAsync();
} catch (err) {
  if (err instanceof CommanderError) process.exitCode = err.exitCode === 0 ? EXIT.ok : EXIT.usage;
  else {
    process.stderr.write(`culvert: ${textOf(err)}\n`);
    process.exitCode = err instanceof CommandError ? err.exitCode : EXIT.failed;
  }
}
