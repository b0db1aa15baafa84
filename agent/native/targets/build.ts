import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { NATIVE, run, runBeside } from '../test/build.ts';
import type { Target } from './targets.ts';

/** Seconds, on a machine that has nothing else to do. */
const BUILD_MS = 900_000;

/** Sizes in bytes. */
export interface Sizes {
  /** The library alone: code and constants, data, zeroed data. */
  core: { text: number; data: number; bss: number };
  /** The whole agent, stripped: static with TLS, static without, with the system's shared libraries and without TLS. */
  tls: number;
  plain: number;
  dynamic: number;
}

/** Builds the agent for a target; the path of the program, stripped. */
async function buildAgent(target: Target, dir: string, options: readonly string[]): Promise<string> {
  const cross = target.tools === '' ? [] : [`-DCMAKE_SYSTEM_NAME=${target.system}`];
  const common = [
    '-S',
    NATIVE,
    '-B',
    dir,
    '-DCMAKE_BUILD_TYPE=MinSizeRel',
    '-DCULVERT_WERROR=ON',
    `-DCMAKE_C_COMPILER=${target.compiler}`,
  ];
  await runBeside('cmake', [...common, ...cross, ...options], { timeoutMs: BUILD_MS });
  await runBeside('cmake', ['--build', dir, `-j${availableParallelism()}`], { timeoutMs: BUILD_MS });
  const program = join(dir, target.system === 'Windows' ? 'culvert-agent.exe' : 'culvert-agent');
  run(`${target.tools}strip`, [program]);
  return program;
}

/** The three agents of a target and their sizes. */
export async function buildTarget(
  target: Target,
  dir: string,
  mbedtls: string,
): Promise<{ program: string; plain: string; dir: string; sizes: Sizes }> {
  const at = (name: string): string => join(dir, `${target.name}-${name}`);
  const tls = [`-DCULVERT_MBEDTLS_SOURCE=${mbedtls}`, '-DCULVERT_STATIC=ON', '-DCULVERT_TESTS=ON'];
  const program = await buildAgent(target, at('tls'), tls);
  const plain = await buildAgent(target, at('plain'), ['-DCULVERT_TLS=OFF', '-DCULVERT_STATIC=ON']);
  const dynamic = await buildAgent(target, at('dynamic'), ['-DCULVERT_TLS=OFF']);
  const sizes = {
    core: coreSize(target.tools, join(at('plain'), 'libculvert.a')),
    tls: readFileSync(program).length,
    plain: readFileSync(plain).length,
    dynamic: readFileSync(dynamic).length,
  };
  return { program, plain, dir: at('tls'), sizes };
}

/** The agent for this machine with the sanitizers of gcc, which end it at the first fault. */
export async function buildSanitized(dir: string): Promise<string> {
  const at = join(dir, 'sanitized');
  const flags = '-DCMAKE_C_FLAGS=-fsanitize=address,undefined -fno-sanitize-recover=all';
  await runBeside('cmake', ['-S', NATIVE, '-B', at, '-DCMAKE_BUILD_TYPE=Debug', flags]);
  await runBeside('cmake', ['--build', at, `-j${availableParallelism()}`], { timeoutMs: BUILD_MS });
  return join(at, 'culvert-agent');
}

/** What `size -t` says of all objects of a library. */
function coreSize(tools: string, library: string): Sizes['core'] {
  const total = run(`${tools}size`, ['-t', library]).trim().split('\n').at(-1) ?? '';
  const [text = 0, data = 0, bss = 0] = total.trim().split(/\s+/).map(Number);
  return { text, data, bss };
}

/** The library on a Cortex-M3, optimized for size, and what one control connection and one transfer take of its memory. */
export function buildCortexM3(dir: string): { core: Sizes['core']; control: number; transfer: number } {
  const src = join(NATIVE, 'core/src');
  const flags = ['-mcpu=cortex-m3', '-mthumb', '-Os', '-std=c99', '-ffunction-sections', `-I${join(NATIVE, 'core/include')}`];
  const objects = readdirSync(src).map((name) => {
    const object = join(dir, `m3-${name}.o`);
    run('arm-none-eabi-gcc', [...flags, '-c', join(src, name), '-o', object]);
    return object;
  });
  const total =
    run('arm-none-eabi-size', ['-t', ...objects])
      .trim()
      .split('\n')
      .at(-1) ?? '';
  const [text = 0, data = 0, bss = 0] = total.trim().split(/\s+/).map(Number);
  const probe = join(dir, 'm3-probe.c');
  writeFileSync(probe, '#include "culvert/culvert.h"\nchar control[sizeof(cv_control)];\nchar transfer[sizeof(cv_transfer)];\n');
  run('arm-none-eabi-gcc', [...flags, '-c', probe, '-o', `${probe}.o`]);
  const symbols = run('arm-none-eabi-nm', ['-S', `${probe}.o`]);
  const sizeOf = (name: string): number =>
    Number.parseInt(new RegExp(`^\\S+ (\\S+) \\S ${name}$`, 'm').exec(symbols)?.[1] ?? '0', 16);
  return { core: { text, data, bss }, control: sizeOf('control'), transfer: sizeOf('transfer') };
}

/** What a compiler makes of floating point: soft, when it has a C library for that; else as its own library is. */
export function floatsOf(compiler: string, dir: string): 'soft' | 'hard' {
  const source = join(dir, 'probe-float.c');
  writeFileSync(source, '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n');
  try {
    run(compiler, ['-msoft-float', source, '-o', join(dir, 'probe-float')]);
    return 'soft';
  } catch {
    return 'hard';
  }
}
