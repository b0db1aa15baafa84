import { readFileSync } from 'node:fs';

type Env = Readonly<Record<string, string | undefined>>;

const MOST_BYTES = 64 * 1024;

/**
 * Secrets may stand in files, where neither a process list nor `docker inspect` shows them: `NAME_FILE` says where NAME is.
 * A variable that is set itself goes before its file. Faults are added to `faults`.
 */
export function withSecretFiles(settings: Readonly<Record<string, { secret?: boolean }>>, env: Env, faults: string[] = []): Env {
  const read: Record<string, string> = {};
  for (const [name, { secret }] of Object.entries(settings)) {
    const path = secret === true && !env[name] ? env[`${name}_FILE`] : undefined;
    if (path === undefined || path === '') continue;
    try {
      const text = readFileSync(path, 'utf8').trim();
      if (text === '' || text.length > MOST_BYTES) faults.push(`${name}_FILE=${JSON.stringify(path)} is empty or too long`);
      else read[name] = text;
    } catch (error) {
      faults.push(`${name}_FILE=${JSON.stringify(path)} cannot be read: ${(error as NodeJS.ErrnoException).code ?? error}`);
    }
  }
  return { ...env, ...read };
}
