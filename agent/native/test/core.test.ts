import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ERRORS } from '@culvert/contracts';
import { parseControlHandshake } from '@culvert/wire';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { installSystemPackages } from '../../../deploy/local/bin/system.mjs';
import { C99, CORE, compile, coreSources, run, STRICT, scratchFolder } from './build.ts';
import { buildFuzzer, fuzz } from './fuzz.ts';
import { replays } from './replay.ts';

await installSystemPackages(['native']);
vi.setConfig({ testTimeout: 240_000 }); // sanitizers take their time to compile for, beside other tests
const { dir, remove } = scratchFolder();
afterAll(remove);

const program = (name: string): string => join(CORE, 'test', `${name}.c`);
const built = (name: string): string => join(dir, name);

/** How the library is built, and what a program made of it is run by. */
const BUILDS: { name: string; compiler: string; flags: string[]; by?: string[] }[] = [
  { name: 'gcc, C99', compiler: 'gcc', flags: ['-O2', ...C99, ...STRICT] },
  { name: 'g++, C++11', compiler: 'g++', flags: ['-O1', '-x', 'c++', '-std=c++11', ...STRICT] },
  {
    name: 'clang with address and undefined behaviour sanitizers',
    compiler: 'clang',
    flags: ['-g', '-O1', ...C99, ...STRICT, '-fsanitize=address,undefined', '-fno-sanitize-recover=all'],
  },
  {
    name: 'clang under valgrind',
    compiler: 'clang',
    flags: ['-g', '-O1', '-gdwarf-4', ...C99, ...STRICT],
    by: ['valgrind', '-q', '--error-exitcode=9', '--leak-check=full'],
  },
];

describe.each(BUILDS)('the native core by $name', ({ name, compiler, flags, by = [] }) => {
  const runBuilt = (path: string, input = ''): string => {
    const [command = path, ...rest] = [...by, path];
    return run(command, rest, { input });
  };

  it('gives what the golden vectors say, whole and byte by byte', () => {
    const path = built(`replay-${name.replaceAll(/\W+/g, '-')}`);
    compile(compiler, flags, [...coreSources(), program('replay')], path);
    const cases = replays();
    const answers = runBuilt(path, `${cases.map(({ line }) => line).join('\n')}\n`).split('\n');
    const wrong = cases.flatMap((one, at) => (answers[at] === one.expected ? [] : [{ ...one, answer: answers[at] }]));
    expect(wrong).toEqual([]);
  });

  it('runs the control and the transfer machine through their lives', () => {
    const path = built(`machines-${name.replaceAll(/\W+/g, '-')}`);
    compile(compiler, flags, [...coreSources(), program('machines')], path);
    expect(runBuilt(path)).toMatch(/^ok: /);
  });
});

describe('the native core', () => {
  it('has the table of codes', () => {
    const path = built('replay-gcc-C99');
    const rows = run(path, [], { input: 'codes\n' }).trim().split(' ');
    const expected = Object.entries(ERRORS).map(([code, { http, close, retry }]) =>
      [code, http ?? 0, close ?? 1011, retry].join(),
    );
    expect(rows).toEqual(expected);
  });

  it('writes a request that the server takes', () => {
    const path = built('replay-gcc-C99');
    const line = 'request cam-7 http:80,https:443,tcp:22 culvert.example cvt_0123456789 dGhlIHNhbXBsZSBub25jZQ==\n';
    const text = Buffer.from(run(path, [], { input: line }).trim(), 'hex').toString();
    const [first = '', ...lines] = text.slice(0, -4).split('\r\n');
    const headers = Object.fromEntries(
      lines.map((one) => [one.slice(0, one.indexOf(':')).toLowerCase(), one.slice(one.indexOf(':') + 2)]),
    );
    const [method = '', url = ''] = first.split(' ');
    expect(parseControlHandshake(method, url, headers)).toMatchObject({
      ok: true,
      name: 'cam-7',
      ports: [
        { port: 80, scheme: 'http' },
        { port: 443, scheme: 'https' },
        { port: 22, scheme: 'tcp' },
      ],
      warm: 4,
      max_frame: 4096,
      transfers: 8,
      boot: 'Zk3vQ1x9T0aB',
    });
    expect(headers.host).toBe('culvert.example');
  });

  it('asks the system for nothing but the moving and comparing of bytes', () => {
    const objects = coreSources().map((source, at) => {
      const object = built(`core-${at}.o`);
      compile('gcc', ['-O2', '-c', '-std=c99', '-fno-pic'], [source], object);
      return object;
    });
    const symbols = run('nm', ['--undefined-only', '-P', ...objects])
      .split('\n')
      .map((line) => line.split(' ')[0] ?? '')
      .filter((symbol) => symbol !== '' && !symbol.endsWith(':') && !symbol.startsWith('cv_'));
    const allowed = [
      'memchr',
      'memcmp',
      'memcpy',
      'memmove',
      'memset',
      'strchr',
      'strlen',
      '__stack_chk_fail',
      '_GLOBAL_OFFSET_TABLE_',
    ];
    expect([...new Set(symbols)].filter((symbol) => !allowed.includes(symbol))).toEqual([]);
    const data = run('nm', ['--defined-only', '-P', ...objects])
      .split('\n')
      .filter((line) => / [bBdDC] /.test(line));
    expect(data).toEqual([]); // no globals that change
  });

  it('is C++ for clang as well', () => {
    const flags = ['-x', 'c++', '-std=c++11', '-fsyntax-only', ...STRICT];
    run('clang', [...flags, `-I${join(CORE, 'include')}`, ...coreSources()]);
  });

  it('survives what a fuzzer makes of the vectors', async () => {
    await fuzz(buildFuzzer(dir), 20_000, 5);
  });

  it('has files that a person can read', () => {
    const long = ['src', 'include/culvert', 'test'].flatMap((folder) =>
      readdirSync(join(CORE, folder))
        .map((name) => [name, readFileSync(join(CORE, folder, name), 'utf8').split('\n').length] as const)
        .filter(([, lines]) => lines > 600),
    );
    expect(long).toEqual([]);
  });
});
