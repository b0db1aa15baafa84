import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../deploy/local/bin/system.mjs';
import { step } from './bases.ts';

const CACHE = join(import.meta.dirname, '../../node_modules/.cache/culvert-tools');
const HELM = 'helm.sh/helm/v3/cmd/helm@v3.22.0';
/** Brings the schemas of Kubernetes; its version is that of Kubernetes. */
const VALIDATOR = 'kubernetes-validate==1.34.1';

/** The program helm: the machine's, or compiled by the machine's Go; undefined where it is not to be had, which is said. */
export async function findHelm(): Promise<string | undefined> {
  const found = findProgram('helm');
  const built = join(CACHE, 'bin/helm');
  if (found !== undefined || existsSync(built)) return found ?? built;
  const go = [findProgram('go'), '/usr/local/go/bin/go'].find((path) => path !== undefined && existsSync(path));
  if (go === undefined) return undefined;
  mkdirSync(CACHE, { recursive: true });
  return step(go, ['install', HELM], { env: { GOBIN: join(CACHE, 'bin'), GOFLAGS: '-mod=mod' } }).then(
    () => built,
    (error: Error) => void console.log(error.message),
  );
}

/** Environment in which `python3 -m kubernetes_validate` works; undefined where it cannot be installed. */
export async function findValidator(): Promise<Record<string, string> | undefined> {
  const folder = join(CACHE, 'python');
  const env = { PYTHONPATH: folder };
  if (existsSync(join(folder, 'kubernetes_validate'))) return env;
  mkdirSync(folder, { recursive: true });
  const args = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--target', folder, VALIDATOR];
  return step('python3', args).then(
    () => env,
    () => undefined,
  );
}
