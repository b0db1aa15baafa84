import { existsSync } from 'node:fs';

/** A machine that the C agent is built for. */
export interface Target {
  name: string;
  compiler: string;
  system: 'Linux' | 'Windows';
  /** Prefix of the binutils; empty for those of this machine. */
  tools: string;
  /** What runs its programs here; undefined when nothing does, with the reason in `why`. */
  by?: readonly string[];
  why?: string;
  /** Graded by the whole conformance suite unless asked otherwise: one of each kind. The others by its short part. */
  representative?: true;
  /** Items of the conformance suite that its emulator cannot show, each with the reason in `why`. */
  without?: readonly string[];
}

const linux = (name: string, triplet: string, emulator?: string): Target => ({
  name,
  compiler: `${triplet}-gcc`,
  system: 'Linux',
  tools: `${triplet}-`,
  by: emulator === undefined ? [] : [`qemu-${emulator}-static`],
});

/** Where Debian, and others, put a Wine that runs 32-bit programs. */
const WINE_32 = ['/usr/lib/wine/wine', '/usr/lib/i386-linux-gnu/wine/i386-unix/ntdll.so', '/opt/wine-stable/bin/wine'];

export const TARGETS: readonly Target[] = [
  { name: 'x86_64', compiler: 'gcc', system: 'Linux', tools: '', by: [], representative: true },
  linux('i686', 'i686-linux-gnu'),
  linux('aarch64', 'aarch64-linux-gnu', 'aarch64'),
  { ...linux('armhf', 'arm-linux-gnueabihf', 'arm'), representative: true },
  linux('armel', 'arm-linux-gnueabi', 'arm'),
  { ...linux('mips', 'mips-linux-gnu', 'mips'), representative: true }, // big endian
  linux('mipsel', 'mipsel-linux-gnu', 'mipsel'),
  linux('mips64el', 'mips64el-linux-gnuabi64', 'mips64el'),
  linux('riscv64', 'riscv64-linux-gnu', 'riscv64'),
  {
    name: 'windows-x64',
    compiler: 'x86_64-w64-mingw32-gcc',
    system: 'Windows',
    tools: 'x86_64-w64-mingw32-',
    by: ['wine'],
    without: ['leaves'],
    why: 'without `leaves`: Wine passes no SIGTERM on',
    representative: true,
  },
  {
    name: 'windows-x86',
    compiler: 'i686-w64-mingw32-gcc',
    system: 'Windows',
    tools: 'i686-w64-mingw32-',
    ...(WINE_32.some((file) => existsSync(file))
      ? { by: ['wine'], without: ['leaves'], why: 'without `leaves`: Wine passes no SIGTERM on' }
      : { why: 'built, not run: there is no 32-bit Wine here' }),
  },
];
