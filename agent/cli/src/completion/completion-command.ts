import { Argument, Command } from 'commander';
import { bash, fish, zsh } from './scripts.ts';
import { treeOf } from './tree.ts';

const SHELLS = { bash, zsh, fish } as const;

/** `culvert completion`: a script for the shell, made of the commands as they are. */
export function completionCommand(program: () => Command): Command {
  return new Command('completion')
    .description('print the script that completes culvert in a shell')
    .addArgument(new Argument('<shell>').choices(Object.keys(SHELLS)))
    .addHelpText(
      'after',
      `
  bash   source <(culvert completion bash)                                  in ~/.bashrc
  zsh    culvert completion zsh > "\${fpath[1]}/_culvert"                    once, then a new shell
  fish   culvert completion fish > ~/.config/fish/completions/culvert.fish  once

Exit codes: 0 done, 2 usage.`,
    )
    .action((shell: keyof typeof SHELLS) => {
      process.stdout.write(SHELLS[shell](treeOf(program())));
    });
}
