/** A program of the stack or of its tests that comes from the system. */
export type SystemProgram =
  | 'redis-server'
  | 'nats-server'
  | 'nginx'
  | 'tls'
  | 'chromium'
  | 'clients'
  | 'networks'
  | 'native'
  | 'cross'
  | 'firmware'
  | 'observability'
  | 'kubernetes'
  | 'containers';
export function findProgram(name: string): string | undefined;
export function missingPackages(programs: readonly SystemProgram[]): string[];
/** @throws Error that names the Debian packages when they are missing and cannot be installed. */
export function installSystemPackages(programs: readonly SystemProgram[]): Promise<void>;
