import { createProgram, everyCommand } from '../../agent/cli/src/program.ts';

const HEAD = `# The command line

\`culvert\` is the agent of a device and the hand of an operator. Every command tells its usage with \`--help\`, prints tables for
people and, with \`--json\`, JSON for programs: one value, or one object a line where it goes on. Words go to standard error,
results to standard output. This page is written from the program; a test fails when they differ.

Completion: \`source <(culvert completion bash)\`; zsh and fish: \`culvert completion --help\`.

| exit code | means |
| --- | --- |
| 0 | done |
| 1 | refused or failed; the reason is on standard error |
| 2 | wrong usage, all faults at once |
| 4 | the server cannot be reached |
| 5 | the device cannot be reached (\`trace\`), or was not so in time (\`wait\`) |

Which server: \`--state-dir DIR\` of a stack on this machine, else \`CULVERT_ADMIN_URL\` and \`CULVERT_ADMIN_TOKEN\` (with \`CULVERT_CA_FILE\` for an
authority of your own), else \`CULVERT_STATE_DIR\`, else \`.culvert\` here.
`;

type Command = ReturnType<typeof createProgram>;

const pathOf = (command: Command): string =>
  command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;

/** Commands that do something themselves, in the order of the help. */
export const leaves = (): Command[] => everyCommand(createProgram()).filter(({ commands }) => commands.length === 0);

/** The text of docs/CLI.md. */
export function cliPage(): string {
  const sections = leaves().map((command) => {
    const lines: string[] = [];
    command.configureOutput({
      writeOut: (text) => void lines.push(text),
      getOutHelpWidth: () => 110,
      getOutHasColors: () => false,
    });
    command.outputHelp();
    return `## ${pathOf(command)}\n\n\`\`\`\n${lines.join('').trim()}\n\`\`\`\n`;
  });
  return `${HEAD}\n${sections.join('\n')}`;
}
