import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** A Debian package that is being put together. */
export interface Deb {
  name: string;
  version: string;
  architecture: string;
  /** One line for lists of packages. */
  summary: string;
  description: string;
  depends?: string;
  suggests?: string;
}

const MAINTAINER = 'The Culvert developers <culvert@localhost>';
const BUILD_MS = 300_000;

/** The folder of files that a package installs, and of what dpkg is told about it. */
export class DebTree {
  readonly deb: Deb;
  readonly root: string;
  readonly #conffiles: string[] = [];

  /** `root` must be empty or absent. */
  constructor(deb: Deb, root: string) {
    this.deb = deb;
    this.root = root;
    mkdirSync(join(root, 'DEBIAN'), { recursive: true });
  }

  /** Copies a file or a folder; links are kept as they are, modes are made those of a package. */
  copy(from: string, to: string, keep: (path: string) => boolean = () => true): void {
    cpSync(from, this.#at(to), { recursive: true, verbatimSymlinks: true, filter: keep });
  }

  write(to: string, text: string, mode = 0o644): void {
    writeFileSync(this.#at(to), text);
    chmodSync(join(this.root, to), mode);
  }

  /** A file of the operator's: dpkg keeps what was changed in it. Readable by root alone when it holds secrets. */
  configure(to: string, text: string, mode = 0o644): void {
    this.write(to, text, mode);
    this.#conffiles.push(`/${to}`);
  }

  /** A systemd unit; starting it is left to the operator, who has to set it up first. */
  unit(from: string): void {
    this.copy(from, `lib/systemd/system/${from.split('/').at(-1)}`);
  }

  /** @returns The path of the package, `<name>_<version>_<architecture>.deb` in `out`. */
  build(out: string, compression: string): string {
    const { name, version, architecture, summary, description, depends, suggests } = this.deb;
    const size = plain(this.root);
    const control = [
      ...[`Package: ${name}`, `Version: ${version}`, `Architecture: ${architecture}`, `Maintainer: ${MAINTAINER}`],
      ...[`Installed-Size: ${Math.ceil(size / 1024)}`, 'Section: net', 'Priority: optional'],
      ...(depends === undefined ? [] : [`Depends: ${depends}`]),
      ...(suggests === undefined ? [] : [`Suggests: ${suggests}`]),
      ...[`Description: ${summary}`, ...description.split('\n').map((line) => ` ${line}`)],
    ];
    const DEBIAN = (file: string): string => join(this.root, 'DEBIAN', file);
    writeFileSync(DEBIAN('control'), `${control.join('\n')}\n`);
    if (this.#conffiles.length > 0) writeFileSync(DEBIAN('conffiles'), `${this.#conffiles.join('\n')}\n`);
    // systemd learns of new, changed and removed units; a running service goes on with what it has.
    for (const script of ['postinst', 'postrm']) {
      writeFileSync(DEBIAN(script), '#!/bin/sh\nset -e\nif [ -d /run/systemd/system ]; then systemctl daemon-reload; fi\n');
      chmodSync(DEBIAN(script), 0o755);
    }
    const path = join(out, `${name}_${version}_${architecture}.deb`);
    const args = ['--root-owner-group', `-Z${compression}`, '--build', this.root, path];
    execFileSync('dpkg-deb', args, { stdio: ['ignore', 'ignore', 'inherit'], timeout: BUILD_MS });
    return path;
  }

  #at(to: string): string {
    const path = join(this.root, to);
    mkdirSync(dirname(path), { recursive: true });
    return path;
  }
}

/** Folders 0755, files 0644, or 0755 for programs, or none for others where none was; the bytes of all files. */
function plain(path: string): number {
  let bytes = 0;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const inner = join(path, entry.name);
    if (entry.isDirectory()) bytes += plain(inner);
    else if (entry.isFile()) {
      const { mode, size } = statSync(inner);
      bytes += size;
      if ((mode & 0o777) !== 0o600) chmodSync(inner, mode & 0o100 ? 0o755 : 0o644);
    }
  }
  chmodSync(path, 0o755);
  return bytes;
}
