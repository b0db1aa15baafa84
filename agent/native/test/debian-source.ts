import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './build.ts';

/**
 * The source of a Debian package, by an apt of our own: the machine's lists stay as they are. It is fetched once and kept in `dir`.
 *
 * @returns The folder of the source.
 */
export function fetchDebianSource(name: string, dir: string): string {
  const found = (): string | undefined =>
    existsSync(dir) ? readdirSync(dir).find((entry) => new RegExp(`^${name}-[0-9.]+(\\+dfsg[0-9]*)?$`).test(entry)) : undefined;
  if (found() === undefined) {
    for (const folder of ['lists/partial', 'parts', 'cache/archives/partial']) mkdirSync(join(dir, folder), { recursive: true });
    const sources = readFileSync('/etc/apt/sources.list.d/debian.sources', 'utf8');
    writeFileSync(join(dir, 'parts/src.sources'), sources.replaceAll(/^Types:.*$/gm, 'Types: deb-src'));
    const own = [
      `Dir::Etc::sourcelist=/dev/null`,
      `Dir::Etc::sourceparts=${join(dir, 'parts')}`,
      `Dir::State::lists=${join(dir, 'lists')}`,
      `Dir::Cache=${join(dir, 'cache')}`,
      'APT::Sandbox::User=root',
    ].flatMap((option) => ['-o', option]);
    run('apt-get', [...own, 'update', '-q'], { timeoutMs: 120_000 });
    run('apt-get', [...own, 'source', '-q', '--only-source', name], { timeoutMs: 120_000, cwd: dir });
  }
  const folder = found();
  if (folder === undefined) throw new Error(`apt-get source left no ${name} in ${dir}`);
  return join(dir, folder);
}
