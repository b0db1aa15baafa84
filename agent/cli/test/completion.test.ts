import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findProgram, installSystemPackages } from '../../../deploy/local/bin/system.mjs';
import { runCli } from './run-cli.ts';

const dir = mkdtempSync(join(tmpdir(), 'culvert-completion-'));
const script = async (shell: string): Promise<string> => {
  const { code, stdout, stderr } = await runCli(['completion', shell]);
  expect([code, stderr]).toEqual([0, '']);
  const file = join(dir, shell === 'zsh' ? '_culvert' : `culvert.${shell}`);
  writeFileSync(file, stdout);
  return file;
};
const run = (program: string, ...args: string[]): string =>
  execFileSync(findProgram(program) ?? program, args, { encoding: 'utf8', timeout: 60_000, env: { ...process.env, HOME: dir } });

beforeAll(() => installSystemPackages(['clients']), 300_000);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('completion of the command line', () => {
  it('offers commands, then theirs, then options, in bash', async () => {
    const file = await script('bash');
    const offered = (...words: string[]): string[] => {
      const list = words.map((word) => `'${word}'`).join(' ');
      const lines = [`source ${file}`, `COMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; _culvert; echo "\${COMPREPLY[@]}"`];
      return run('bash', '--norc', '-c', lines.join('\n')).trim().split(' ');
    };
    expect(offered('culvert', 'dev')).toEqual(['device']);
    expect(offered('culvert', '--state-dir', 'x', 'device', 'r')).toEqual(['revoke', 'rotate']);
    expect(offered('culvert', 'device', 'list', '--s')).toEqual(['--search', '--state', '--sort']);
    expect(offered('culvert', 'completion', '')).toEqual(['bash', 'zsh', 'fish']);
  });

  it('is a script that zsh takes', async () => {
    const file = await script('zsh');
    run('zsh', '-f', '-n', file);
    const lines = [
      'autoload -Uz compinit; compinit -u -D',
      `source ${file}`,
      '_describe() { print -rl -- $commands }', // what it would have shown
      'words=(culvert device r); CURRENT=3; PREFIX=r; _culvert',
    ];
    expect(run('zsh', '-f', '-c', lines.join('\n'))).toContain('rotate:');
  });

  it('offers the same in fish', async () => {
    const file = await script('fish');
    const offered = run('fish', '--no-config', '-c', `source ${file}; complete -C 'culvert device r'`);
    expect(offered.split('\n').map((line) => line.split('\t')[0])).toEqual(['revoke', 'rotate', '']);
    expect(run('fish', '--no-config', '-c', `source ${file}; complete -C 'culvert device list --sor'`)).toContain('--sort');
  });

  it('knows three shells', async () => {
    expect(await runCli(['completion', 'cmd'])).toMatchObject({ code: 2, stderr: expect.stringContaining('bash, zsh, fish') });
  });
});
