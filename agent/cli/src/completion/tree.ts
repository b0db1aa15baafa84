import type { Command } from 'commander';

export interface Word {
  word: string;
  what: string;
}

/** What may follow a command. */
export interface Level {
  /** `culvert device add`. */
  path: string;
  commands: Word[];
  options: Word[];
}

/** Every command with what may follow it. */
export function treeOf(command: Command, before = ''): Level[] {
  const path = `${before}${command.name()}`;
  const commands = command.commands.map((one) => ({ word: one.name(), what: one.description() }));
  const options = command.options.flatMap(({ long, description }) =>
    long === null || long === undefined ? [] : [{ word: long, what: description }],
  );
  const choices = command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices.map((word) => ({ word, what: '' })));
  const help = { word: '--help', what: 'show the usage' };
  const level = { path, commands: [...commands, ...choices], options: [...options, help] };
  return [level, ...command.commands.flatMap((one) => treeOf(one, `${path} `))];
}
