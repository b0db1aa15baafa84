import { execFile } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from '../../deploy/local/bin/system.mjs';
import { step } from './bases.ts';

const CACHE = join(import.meta.dirname, '../../node_modules/.cache/culvert-tools');
const HELM = 'helm.sh/helm/v3/cmd/helm@v3.22.0';
const KUBERNETES_MODULE = 'k8s.io/kubernetes';
/** Of 1.x, and of the parts of it, which are 0.x. */
const KUBERNETES = '34.4';
/** Brings the schemas of Kubernetes; its version is that of Kubernetes. */
const VALIDATOR = 'kubernetes-validate==1.34.1';

const findGo = (): string | undefined =>
  [findProgram('go'), '/usr/local/go/bin/go'].find((path) => path !== undefined && existsSync(path));

/**
 * The program kube-apiserver, compiled by the machine's Go out of the module of Kubernetes, which takes some minutes; undefined where it is
 * not to be had, which is said. That module names its parts by their folders: here they are named by their versions.
 */
export async function findApiServer(): Promise<string | undefined> {
  const built = join(CACHE, 'bin/kube-apiserver');
  if (existsSync(built)) return built;
  const go = findGo();
  if (go === undefined) return undefined;
  const folder = join(CACHE, 'kube-apiserver');
  mkdirSync(folder, { recursive: true });
  const run = (...args: string[]): Promise<void> => step(go, args, { cwd: folder, env: { GOFLAGS: '-mod=mod', GOWORK: 'off' } });
  try {
    const { stdout } = await promisify(execFile)(go, ['mod', 'download', '-json', `${KUBERNETES_MODULE}@v1.${KUBERNETES}`], {
      cwd: folder,
      timeout: 300_000,
    });
    const { Dir: source, GoMod: file } = JSON.parse(stdout) as { Dir: string; GoMod: string };
    const parts = [...readFileSync(file, 'utf8').matchAll(/^\t(\S+) => \.\/staging\//gm)].map(
      ([, name]) => `${name} => ${name} v0.${KUBERNETES}`,
    );
    const lines = ['module kube-apiserver', 'go 1.24.0', `require ${KUBERNETES_MODULE} v1.${KUBERNETES}`];
    writeFileSync(join(folder, 'go.mod'), `${[...lines, ...parts.map((part) => `replace ${part}`)].join('\n')}\n`);
    copyFileSync(join(source, 'cmd/kube-apiserver/apiserver.go'), join(folder, 'main.go'));
    chmodSync(join(folder, 'main.go'), 0o644);
    await run('mod', 'tidy');
    const version = `k8s.io/component-base/version.gitVersion=v1.${KUBERNETES}`; // which helm asks for
    await run('build', `-ldflags=-s -w -X ${version}`, '-o', built, '.');
    return built;
  } catch (error) {
    return void console.log((error as Error).message);
  }
}

/** The program helm: the machine's, or compiled by the machine's Go; undefined where it is not to be had, which is said. */
export async function findHelm(): Promise<string | undefined> {
  const found = findProgram('helm');
  const built = join(CACHE, 'bin/helm');
  if (found !== undefined || existsSync(built)) return found ?? built;
  const go = findGo();
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
