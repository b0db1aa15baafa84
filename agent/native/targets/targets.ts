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
  flags?: readonly string[];
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

export const TARGETS: readonly Target[] = [
  { name: 'x86_64', compiler: 'gcc', system: 'Linux', tools: '', by: [] },
  linux('i686', 'i686-linux-gnu'),
  linux('aarch64', 'aarch64-linux-gnu', 'aarch64'),
  linux('armhf', 'arm-linux-gnueabihf', 'arm'),
  linux('armel', 'arm-linux-gnueabi', 'arm'),
  linux('mips', 'mips-linux-gnu', 'mips'),
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
  },
  {
    name: 'windows-x86',
    compiler: 'i686-w64-mingw32-gcc',
    system: 'Windows',
    tools: 'i686-w64-mingw32-',
    why: 'not run: there is no 32-bit Wine here',
  },
];
