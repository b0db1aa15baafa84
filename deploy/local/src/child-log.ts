import { closeSync, copyFileSync, fstatSync, openSync, readSync, renameSync, statSync, truncateSync } from 'node:fs';

/** A log file beyond this is put aside as `<name>.1`, of which there is one: a stack must not fill the disk. */
const MOST_BYTES = 64 * 1024 * 1024;

/** Opens a log for appending, for a child to write to by itself. Whoever opens closes. */
export function openLog(path: string): number {
  if (sizeOf(path) > MOST_BYTES) renameSync(path, `${path}.1`);
  return openSync(path, 'a', 0o600);
}

/** Puts the text of a log that grew too large aside while its child goes on writing: the file is open for appending. */
export function trimLog(path: string): void {
  if (sizeOf(path) <= MOST_BYTES) return;
  copyFileSync(path, `${path}.1`);
  truncateSync(path, 0);
}

/** The last lines of a log, for an error message. */
export function tailOf(path: string, bytes = 2_000): string {
  try {
    const fd = openSync(path, 'r');
    try {
      const { size } = fstatSync(fd);
      const buffer = Buffer.alloc(Math.min(bytes, size));
      readSync(fd, buffer, 0, buffer.length, size - buffer.length);
      return buffer.toString().trimEnd();
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
