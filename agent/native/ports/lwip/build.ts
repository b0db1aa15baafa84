/**
 * `npm run native:lwip`: builds the firmware of the microcontroller port and prints what it takes. Compilers come from Debian,
 * lwIP from Debian's sources.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { installSystemPackages } from '../../../../deploy/local/bin/system.mjs';
import { run } from '../../test/build.ts';
import { fetchDebianSource } from '../../test/debian-source.ts';

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
  const lwip = fetchDebianSource('lwip', join(DIST, 'lwip'));
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

if (import.meta.main) {
  const { elf, flash, ram } = await buildFirmware();
  console.log(`${elf}\nflash ${flash} bytes, RAM ${ram} bytes (data, pools and stack) of 65536`);
}
