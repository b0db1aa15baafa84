/**
 * `npm run native:lwip`: builds the firmware of the microcontroller port and prints what it takes. Compilers come from Debian,
 * lwIP from Debian's archive of sources.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { installSystemPackages } from '../../../../deploy/local/bin/system.mjs';

const LWIP = {
  url: 'http://deb.debian.org/debian/pool/main/l/lwip/lwip_2.1.3+dfsg1.orig.tar.xz',
  sha256: '0a8276d09fc4e97bbba2f953d74af2388fc2195ea156be9d7589e297a68fde24',
  folder: 'lwip-2.1.3',
};
const HERE = import.meta.dirname;
const DIST = join(HERE, 'dist');
const BOARD = 'lm3s6965evb';

export interface Firmware {
  elf: string;
  /** Bytes that the linker counted: code and constants; all RAM, the stack included. */
  flash: number;
  ram: number;
}

/** Builds it, or what has changed of it, in `dist/`. @throws Error with what the failed program said */
export async function buildFirmware(): Promise<Firmware> {
  await installSystemPackages(['firmware']);
  mkdirSync(DIST, { recursive: true });
  const lwip = fetchLwip();
  const build = join(DIST, BOARD);
  const toolchain = join(HERE, 'boards', BOARD, 'toolchain.cmake');
  run('cmake', ['-S', HERE, '-B', build, `-DCMAKE_TOOLCHAIN_FILE=${toolchain}`, `-DLWIP_DIR=${lwip}`, `-DBOARD=${BOARD}`]);
  rmSync(join(build, 'firmware.elf'), { force: true }); // linked anew, so that the linker tells its figures
  const figures = run('cmake', ['--build', build, '-j2']);
  const used = (region: string): number => {
    const bytes = new RegExp(`${region}:\\s+(\\d+) B`).exec(figures)?.[1];
    if (bytes === undefined) throw new Error(`the linker did not say how much ${region} is used:\n${figures}`);
    return Number(bytes);
  };
  return { elf: join(build, 'firmware.elf'), flash: used('FLASH'), ram: used('RAM') };
}

function fetchLwip(): string {
  const folder = join(DIST, LWIP.folder);
  if (existsSync(join(folder, 'src/include/lwip/init.h'))) return folder;
  const archive = join(DIST, 'lwip.tar.xz');
  run('curl', ['-fsSL', '--retry', '3', '--max-time', '120', '-o', archive, LWIP.url]);
  const sha256 = createHash('sha256').update(readFileSync(archive)).digest('hex');
  if (sha256 !== LWIP.sha256) throw new Error(`${LWIP.url} has the SHA-256 ${sha256}, expected ${LWIP.sha256}`);
  run('tar', ['-xJf', archive, '-C', DIST]);
  return folder;
}

function run(command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', timeout: 300_000 });
  if (status !== 0)
    throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? `exit code ${status}`}\n${stdout}\n${stderr}`);
  return stdout;
}

if (import.meta.main) {
  const { elf, flash, ram } = await buildFirmware();
  console.log(`${elf}\nflash ${flash} bytes, RAM ${ram} bytes (data, pools and stack) of 65536`);
}
